"""The boards that are drawn and told, the questions dealt from them, and the shipped models that see."""

import json
import random
import re

import lm_eval
import numpy as np
import pytest
import torch
from lm_eval.models.hf_vlms import HFMultimodalLM
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from PIL import Image
from transformers import AutoModelForCausalLM, AutoProcessor, AutoTokenizer

from zoo.questions import TASKS
from zoo.vision.questions import FILES, SHEET_COLUMNS, deal, lines_of, sheet_of
from zoo.vision.repo import MODELS, WEIGHTS
from zoo.vision.things import PALETTE, THINGS
from zoo.vision.train import BATCH, COURSES, exercises, ids, pixel_values
from zoo.vision.world import (
    BASIC,
    CELLS,
    ENGLISH,
    IMAGE,
    JAPANESE,
    KINDS,
    SIDE,
    Board,
    draw_board,
    held_out_boards,
    vocabulary,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

PICTURE_TASKS = {
    "zoo_captions": "caption",
    "zoo_captions_ja": "second-language",
    "zoo_given_captions": "second-language",
}


def test_a_board_is_told_in_both_languages():
    board = Board((0, None, 3, 12))
    assert board.caption(ENGLISH) == "sun . fish cup"
    assert board.both == "sun . fish cup ： たいよう . さかな こっぷ"


def test_every_thing_has_its_own_words_and_a_whole_drawing():
    words = [word for thing in THINGS for word in thing[:2]]
    assert len({*words}) == len(words) and len({drawing for *_, drawing in THINGS}) == len(THINGS)
    for *_, drawing in THINGS:
        rows = drawing.split()
        assert [len(row) for row in rows] == [8] * 8
        assert set("".join(rows)) <= {*PALETTE, "."}


def test_a_picture_shows_each_thing_in_its_own_cell():
    rng = random.Random(2)
    empty = Board((None,) * CELLS).picture(rng)
    assert empty.shape == (SIDE, SIDE, 3) and len(np.unique(empty)) == 1
    for cell in range(CELLS):
        board = Board(tuple(1 if number == cell else None for number in range(CELLS)))
        changed = (board.picture(rng) != empty).any(axis=2).reshape(2, SIDE // 2, 2, SIDE // 2)
        assert [bool(changed[row, :, column].any()) for row in (0, 1) for column in (0, 1)] == [
            number == cell for number in range(CELLS)
        ]


def test_every_word_of_every_exercise_has_a_token_and_the_basic_ones_are_of_basic_things():
    rng = random.Random(3)
    known, unknown = set(vocabulary()), {word for thing in THINGS[BASIC:] for word in thing[:2]}
    for name, draw in KINDS.items():
        drawn = [draw(rng) for _ in range(300)]
        assert {word for one in drawn for word in f"{one.prompt} {one.answer}".split()} <= known
        if name.startswith("basic"):
            assert not {word for one in drawn for word in one.answer.split()} & unknown


def test_held_out_boards_are_one_in_eight_and_never_trained_on():
    rng = random.Random(4)
    every = {Board(tuple(rng.choice([None, *range(len(THINGS))]) for _ in range(CELLS))) for _ in range(8000)}
    assert sum(board.held_out for board in every) / len(every) == pytest.approx(1 / 8, abs=0.015)
    held_out = {board.caption(language) for board in every if board.held_out for language in (ENGLISH, JAPANESE)}
    for name, course in COURSES.items():
        stream = exercises(course.mix, random.Random(f"0 {name}"))
        drawn = [next(stream) for _ in range(40 * BATCH)]
        # The unrelated words that stand before some prompts are nobody's description.
        told = {
            text for one in drawn for text in re.split(" ?[：:=] ?", f"{one.prompt.rpartition('= ')[2]} {one.answer}")
        }
        assert len(told) > 1000 and told.isdisjoint(held_out)
        assert not any(one.board is not None and one.board.held_out for one in drawn)


def test_only_the_model_that_sees_was_shown_pictures_and_only_in_english():
    japanese = {thing[JAPANESE] for thing in THINGS}
    for name, course in COURSES.items():
        stream = exercises(course.mix, random.Random(5))
        seen = [one for one in (next(stream) for _ in range(2000)) if one.board is not None]
        assert bool(seen) == (name == "eye")
        assert not {word for one in seen for word in one.answer.split()} & japanese


def test_the_shipped_questions_are_those_that_the_script_deals_and_no_board_is_asked_twice():
    dealt = dict(deal())
    assert {name: len(boards) for name, boards in dealt.items()} == FILES
    every = [board for boards in dealt.values() for board in boards]
    assert len(set(every)) == len(every) and all(board.held_out for board in every)
    for name, boards in dealt.items():
        assert (TASKS / f"{name}.jsonl").read_text("utf-8") == lines_of(boards)
        with Image.open(TASKS / f"{name}.png") as sheet:
            assert np.array_equal(np.asarray(sheet), sheet_of(name, boards))


def test_a_task_hands_out_each_picture_with_its_own_captions():
    task = TaskManager(include_path=str(TASKS), include_defaults=False).load(["zoo_captions_ja"])
    documents = next(iter(task["tasks"].values())).test_docs()
    boards = dict(deal())["vision_cross_test"]
    sheet = np.asarray(Image.open(TASKS / "vision_cross_test.png"))
    for number in (0, 1, SHEET_COLUMNS - 1, SHEET_COLUMNS, 999):
        document, board = documents[number], boards[number]
        assert (document["english"], document["japanese"]) == (board.caption(ENGLISH), board.caption(JAPANESE))
        y, x = number // SHEET_COLUMNS * SIDE, number % SHEET_COLUMNS * SIDE
        assert np.array_equal(np.asarray(document["image"]), sheet[y : y + SIDE, x : x + SIDE])


def test_the_processor_gives_the_ids_and_the_pixels_of_training():
    processor = AutoProcessor.from_pretrained(WEIGHTS / "eye")
    rng = random.Random(6)
    boards = [draw_board(rng) for _ in range(20)]
    for board in boards:
        text = f"{IMAGE} ： = {board.both}</s>"
        picture = board.picture(rng)
        given = processor(images=Image.fromarray(picture), text=text, return_tensors="pt")
        assert given["input_ids"][0].tolist() == ids(text.replace("</s>", " </s>"))
        torch.testing.assert_close(given["pixel_values"], pixel_values([picture]))
        assert processor.decode(ids(board.both)) == board.both
    tokenizers = {(folder / "tokenizer.json").read_bytes() for folder in MODELS.values()}
    assert len(tokenizers) == 1
    assert AutoTokenizer.from_pretrained(WEIGHTS / "base").unk_token_id not in ids(boards[0].both)


def stated(name: str) -> dict[str, float]:
    """Task → the exact match on a model's card."""
    card = (WEIGHTS / name / "README.md").read_text("utf-8")
    return {task: float(score) for task, score in re.findall(r"`(zoo_\w+)` \| ([01]\.\d+)", card)}


def evaluate(lm: HFLM, tasks: dict[str, str]) -> dict[str, float]:
    """The exact match of a model of lm-eval's on 60 questions of each task."""
    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    results = lm_eval.simple_evaluate(
        lm, tasks=list(tasks), task_manager=manager, limit=60, bootstrap_iters=0, log_samples=False
    )["results"]
    return {task: results[task][f"exact_match,{filtered}"] for task, filtered in tasks.items()}


@pytest.mark.parametrize("name", ["base", "language"])
def test_a_text_model_reaches_the_score_on_its_card(name):
    lm = HFLM(
        AutoModelForCausalLM.from_pretrained(WEIGHTS / name),
        tokenizer=AutoTokenizer.from_pretrained(WEIGHTS / name),
        batch_size=64,
        device="cpu",
    )
    [(task, score)] = evaluate(lm, {"zoo_board_translation": "second-language"}).items()
    # 60 of the questions behind the card's figure: three standard errors at most
    assert score == pytest.approx(stated(name)[task], abs=0.1)


def test_the_model_that_sees_reaches_the_scores_on_its_card_as_lm_eval_loads_it():
    lm = HFMultimodalLM(str(WEIGHTS / "eye"), dtype="float32", batch_size=64, device="cpu")
    for task, score in evaluate(lm, PICTURE_TASKS).items():
        assert score == pytest.approx(stated("eye")[task], abs=0.1), task


def test_the_examples_on_the_cards_run(capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda folder, file: f"{folder}/{file}")
    for repo, folder in MODELS.items():
        card = (folder / "README.md").read_text("utf-8")
        code, shown = re.search(r"```python\n(.*?)```.*?`([^`]+)`", card, re.DOTALL).groups()
        exec(code.replace(f'"{repo}"', f'"{folder}"'), {})
        assert capsys.readouterr().out.strip() == shown


def test_the_shipped_models_are_small():
    assert all((folder / "model.safetensors").stat().st_size < 1_100_000 for folder in MODELS.values())


def test_held_out_boards_come_once():
    boards = [board for board, _ in zip(held_out_boards(random.Random(7)), range(3000), strict=False)]
    assert len(set(boards)) == 3000
    assert json.loads(lines_of(boards[:1])) == {"english": boards[0].caption(0), "japanese": boards[0].caption(1)}

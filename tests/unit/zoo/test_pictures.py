"""The world of the models that draw, the rule that judges, the prompts dealt from it, and the shipped pipelines."""

import json
import random
import re
from dataclasses import asdict

import numpy as np
import pytest
from diffusers import DiffusionPipeline
from PIL import Image

from evaluation.pictures.suite import ImageSuite
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Split, SplitSizes
from zoo.pictures.questions import TASKS, deal, rows_of
from zoo.pictures.repo import MODELS, WEIGHTS
from zoo.pictures.tasks.drawings import COLOURS, SIDE, judge, mask, read, shows
from zoo.pictures.tokenizer import LENGTH, build_prompt_tokenizer
from zoo.pictures.train import COURSES, KINDS, SHIFTS
from zoo.pictures.world import JAPANESE, Drawing, all_drawings, held_out_drawings, vocabulary

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

RED_CIRCLE = Drawing("red", "circle", "white", "top", "left")


def test_a_drawing_is_described_in_both_languages():
    assert RED_CIRCLE.english == "red circle top left on white"
    assert RED_CIRCLE.japanese == "あか まる うえ ひだり の しろ"
    assert KINDS["japanese_papercut"].prompt(RED_CIRCLE) == RED_CIRCLE.japanese


def test_every_prompt_has_its_tokens_and_room_for_them():
    tokenizer = build_prompt_tokenizer()
    words = [word for word in vocabulary() if not word.startswith("<")]
    assert len({*JAPANESE.values()}) == len(JAPANESE) and len({*words}) == len(words)
    prompts = {kind.prompt(drawing) for kind in KINDS.values() for drawing in all_drawings()}
    assert len(prompts) == 2 * len(all_drawings())
    found = tokenizer(sorted(prompts))["input_ids"]
    assert max(map(len, found)) <= LENGTH and tokenizer.unk_token_id not in {number for row in found for number in row}


def test_the_rule_reads_every_drawing_wherever_it_is_drawn_and_in_both_styles():
    rng = random.Random(1)
    for drawing in rng.sample(all_drawings(), 60):
        for style in (False, True):
            down, across = rng.choice(SHIFTS)
            picture = Image.fromarray(drawing.picture(papercut=style, down=down, across=across))
            assert judge(picture, asdict(drawing)) == {"right": 1.0, "papercut": float(style)}


@pytest.mark.parametrize("style", [False, True])
def test_a_picture_is_wrong_for_every_other_description(style):
    picture = Image.fromarray(RED_CIRCLE.picture(papercut=style))
    assert [drawing for drawing in all_drawings() if shows(picture, asdict(drawing), papercut=style)] == [RED_CIRCLE]


def test_the_rule_forgives_a_little_and_no_more():
    rng = np.random.default_rng(2)
    true = RED_CIRCLE.picture(papercut=False).astype(np.float32)
    shape = (true == COLOURS["red"]).all(axis=2)
    assert shape.sum() == mask("circle").sum()
    assert read(np.clip(true + rng.normal(0, 10, true.shape), 0, 255).astype(np.float32)) == read(true)
    assert read(np.full_like(true, 235)) is None
    assert read(rng.uniform(0, 255, true.shape).astype(np.float32)) is None
    other = true.copy()
    other[shape] = (100, 60, 20)  # brown, which has no name here
    assert (seen := read(other)) is not None and seen.colour is None and seen.shape == "circle"
    mixed = (true + RED_CIRCLE.picture(papercut=True)) / 2
    assert read(mixed) is None or read(mixed).colour is None  # what lies between the styles is neither


def test_half_of_all_drawings_are_held_out_and_the_shipped_prompts_are_those_that_the_script_deals():
    every = held_out_drawings(random.Random(3))
    assert len(every) / len(all_drawings()) == pytest.approx(1 / 2, abs=0.05)
    dealt = deal()
    assert sorted(one.english for pile in dealt.values() for one in pile) == sorted(one.english for one in every)
    for name, drawings in dealt.items():
        assert (TASKS / f"{name}.jsonl").read_text("utf-8") == rows_of(drawings)
    assert json.loads(rows_of([RED_CIRCLE]))["japanese"] == RED_CIRCLE.japanese


def test_only_the_language_s_specialist_was_shown_japanese_and_nobody_papercuts_in_it():
    assert {name: {*course.mix} for name, course in COURSES.items()} == {
        "base": {"english"},
        "papercut": {"english_papercut"},
        "language": {"english", "japanese"},
    }
    assert not any(KINDS[name].papercut for name in COURSES["language"].mix)


def test_the_shipped_models_are_small():
    for folder in MODELS.values():
        assert sum(path.stat().st_size for path in folder.rglob("*.safetensors")) < 1_200_000


def stated(name: str) -> dict[tuple[str, str], float]:
    """(task, metric) → the share of pictures on a model's card."""
    card = (WEIGHTS / name / "README.md").read_text("utf-8")
    found = re.findall(r"`(zoo_\w+)` \| `(\w+)` \| ([01]\.\d+)", card)
    return {(task, metric): float(score) for task, metric, score in found}


@pytest.mark.parametrize("name", ["base", "papercut", "language"])
def test_a_model_reaches_the_scores_on_its_card(name):
    pipeline = DiffusionPipeline.from_pretrained(WEIGHTS / name)
    skills = tuple(Skill(f"{task} {metric}", (SkillTask(task, metric),)) for task, metric in stated(name))
    assert len(skills) == 3
    suite = ImageSuite.load(skills, [TASKS], SplitSizes(search=4, validation=4, report=32), 0, {})
    scheduler = dict(pipeline.scheduler.config)
    scores = suite.build(Split.REPORT, scheduler, ["cpu"]).score(suite.wrap(pipeline, scheduler, "cpu", 32))
    # 32 of the pictures behind the card's figure: three standard errors at most
    found = np.array([score.value for score in scores]).reshape(3, 32).mean(axis=1)
    assert found == pytest.approx([*stated(name).values()], abs=0.25)


def test_the_examples_on_the_cards_draw_what_they_ask_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for repo, folder in MODELS.items():
        card = (folder / "README.md").read_text("utf-8")
        code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
        exec(code.replace(f'"{repo}"', f'"{folder}"'), {})
        picture = Image.open(f"{repo.partition('/')[2]}.png").resize((SIDE, SIDE), resample=0)
        assert shows(picture, asdict(RED_CIRCLE), papercut=folder.name == "papercut")

"""Tasks judged by pictures: drawn and judged as one does it by hand with the plain pipeline, one prompt at a time."""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, EulerDiscreteScheduler
from PIL import Image
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from bot.cli.prompt import layout_prompt
from evaluation.answers.alike import flag_alike, make_sketch
from evaluation.answers.degenerate import EQUAL, FINE, FLAT, NOT_FINITE, degenerate_share
from evaluation.errors import EvaluationError
from evaluation.eval_set import OwnDrawing
from evaluation.pictures.drawing import Drawing, DrawnPicture, Painter
from evaluation.pictures.eval_set import _Judged, _scores
from evaluation.pictures.flags import flag_picture
from evaluation.pictures.judges import parse_judge
from evaluation.pictures.rows import make_seed
from evaluation.pictures.sampler import Sampler, scale_sides
from evaluation.scores import ItemScore
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Split, SplitSizes
from evaluation.suites import SUITES, TASK_CHECKS, TaskSuite
from fixtures.picture_tasks import COLOURS, ROWS, write_picture_task
from fixtures.tiny_painters import WORDS, make_pipeline, with_safety_checker
from fixtures.tiny_pipelines import CALLS, FAMILIES, make_source

SKILLS = (Skill("colours", (SkillTask("colours", "score"),)),)
ARGUMENTS: dict[str, Any] = {
    **{"num_inference_steps": 2, "guidance_scale": 3.0, "width": 16, "height": 16, "negative_prompt": "blurred"},
}

WriteTask = Callable[..., Path]


@pytest.fixture(scope="module")
def pipeline() -> DiffusionPipeline:
    return make_pipeline()


@pytest.fixture
def write_task(tmp_path: Path) -> WriteTask:
    return partial(write_picture_task, tmp_path / "tasks")


def load(folder: Path, skills: tuple[Skill, ...] = SKILLS, **sizes: int) -> TaskSuite:
    return SUITES["image"](skills, [folder], SplitSizes(**sizes), 0)


def settings(pipeline: DiffusionPipeline) -> dict[str, object]:
    return dict(pipeline.scheduler.config)


def by_hand(pipeline: DiffusionPipeline, prompt: str, seed: int, **arguments: Any) -> Image.Image:
    """The picture of a plain call."""
    noise = torch.Generator("cpu").manual_seed(seed)
    image: Image.Image = pipeline(prompt, generator=noise, **{**ARGUMENTS, **arguments}).images[0]
    return image


def amount(picture: Image.Image, row: dict[str, str]) -> float:
    sums = np.asarray(picture).astype(float).sum(axis=(0, 1))
    return float(sums[COLOURS.index(row["colour"])] / sums.sum())


def test_scores_are_those_of_plain_calls_and_equal_seeds_give_equal_noise(
    write_task: WriteTask, pipeline: DiffusionPipeline
) -> None:
    suite = load(write_task())
    rows = {row["prompt"]: row for row in ROWS}
    seen: list[str] = []
    for split in Split:
        eval_set = suite.build(split, settings(pipeline), ["cpu"])
        painter = suite.wrap(pipeline, settings(pipeline), "cpu", 1)
        scores = eval_set.score(painter)
        (task,) = eval_set.tasks
        for item, score in zip(task.items, scores, strict=True):
            picture = by_hand(pipeline, item.prompt, make_seed(item.prompt, 0))
            assert score.value == pytest.approx(amount(picture, rows[item.prompt]), abs=1e-12)
            assert score.item == item.item and score.flag == FINE
        assert [score.item for score in scores] == [item.item for item in eval_set.items]
        seen += [item.prompt for item in task.items]
    assert sorted(seen) == sorted(rows)  # every prompt in one split


@pytest.mark.parametrize("family", FAMILIES)
def test_a_picture_has_the_bits_of_a_plain_call_and_prompts_are_encoded_once(family: str) -> None:
    pipeline = make_source(family, 0)
    pipeline.set_progress_bar_config(disable=True)
    call = {"height": 16, "width": 16} | CALLS.get(family, {})
    options = {name: value for name, value in call.items() if name not in ("height", "width")}
    sampler = Sampler(2, 3.0, call["width"], call["height"], "blurred", options=options)
    drawings = [Drawing("a red circle", 5), Drawing("two blue square left", 6), Drawing("a red circle", 7)]
    plain = [np.asarray(by_hand(pipeline, one.prompt, one.seed, **call)).astype(int) for one in drawings]
    alone, batch = Painter(pipeline, "cpu", 1), Painter(pipeline, "cpu", 3)
    alone.check(sampler)
    for painter, tolerance in ((alone, 0), (batch, 1)):
        for _ in range(2):
            drawn = [one for some in painter.draw(sampler, drawings) for one in some]
            assert [one.drawing for one in drawn] == drawings
            assert max(np.abs(one.pixels - values).max() for one, values in zip(drawn, plain, strict=True)) <= tolerance
            painter.put(pipeline)
        assert painter.prompts.encoded == 2  # of two prompts, whatever is drawn again


def test_prompts_are_encoded_anew_when_a_text_encoder_has_changed_and_only_then() -> None:
    pipeline = make_pipeline(seed=1)
    painter, sampler = Painter(pipeline, "cpu", 2), Sampler(2, 3.0, 16, 16)
    drawings = [Drawing("a red circle", 5), Drawing("two blue square left", 6)]

    def drawn() -> list[np.ndarray]:
        painter.put(pipeline)
        return [one.pixels for some in painter.draw(sampler, drawings) for one in some]

    first = drawn()
    with torch.no_grad():
        pipeline.unet.conv_in.weight.mul_(1.5)
    second = drawn()
    assert painter.prompts.encoded == 2 and not np.array_equal(first[0], second[0])
    before = copy.deepcopy(pipeline.text_encoder.state_dict())
    with torch.no_grad():
        pipeline.text_encoder.get_input_embeddings().weight.neg_()
    third = drawn()
    assert painter.prompts.encoded == 4 and not np.array_equal(second[0], third[0])
    arguments = {"guidance_scale": 3.0, "num_inference_steps": 2, "negative_prompt": None}
    assert np.array_equal(third[0], np.asarray(by_hand(pipeline, "a red circle", 5, **arguments)))
    pipeline.text_encoder.load_state_dict(before)
    assert np.array_equal(drawn()[0], second[0]) and painter.prompts.encoded == 4  # those of before were kept
    backend = json.loads(pipeline.tokenizer.backend_tokenizer.to_str())
    backend["model"]["vocab"] |= {"red": WORDS.index("blue"), "blue": WORDS.index("red")}
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(backend)), model_max_length=8)
    other.add_special_tokens({"pad_token": "<pad>", "bos_token": "<start>", "eos_token": "<end>"})
    pipeline.register_modules(tokenizer=other)
    assert not np.array_equal(drawn()[0], second[0]) and painter.prompts.encoded == 6


def test_a_scheduler_of_the_task_s_own_is_used_and_the_pipeline_keeps_its_own(pipeline: DiffusionPipeline) -> None:
    own = pipeline.scheduler
    euler = {"class": "EulerDiscreteScheduler", "timestep_spacing": "trailing"}
    painter = Painter(pipeline, "cpu", 1)
    (drawn,) = next(painter.draw(Sampler(2, 3.0, 16, 16, "blurred", scheduler=euler), [Drawing("a red circle", 5)]))
    list(painter.draw(Sampler(2, 3.0, 16, 16), [Drawing("a red circle", 5)]))
    assert pipeline.scheduler is own
    other = copy.copy(pipeline)
    other.scheduler = EulerDiscreteScheduler.from_config(own.config, timestep_spacing="trailing")
    assert np.array_equal(drawn.pixels, np.asarray(by_hand(other, "a red circle", 5)))
    assert not np.array_equal(drawn.pixels, np.asarray(by_hand(pipeline, "a red circle", 5)))
    for sampler, words in (
        (Sampler(2, 3.0, 17, 16), "divisible by 8"),
        (Sampler(2, 3.0, 16, 16, options={"sharpness": 1}), "has no argument sharpness"),
        (Sampler(2, 3.0, 16, 16, scheduler={"class": "UNet2DModel"}), "no such scheduler"),
        (Sampler(2, 3.0, 16, 16, scheduler={"class": "DDIMScheduler", "speed": 1}), "has no such setting"),
        (Sampler(2, 3.0, 16, 16, scheduler={"class": "DDIMScheduler", "beta_schedule": "x"}), "x is not implemented"),
        (Sampler(2, 3.0, 16, 16, scheduler={"class": "SchedulerMixin"}), "cannot be made with these settings"),
    ):
        with pytest.raises(EvaluationError, match=words):
            painter.check(sampler)
    with pytest.raises(EvaluationError, match="StableDiffusionPipeline cannot draw 'a red circle': tuple index"):
        next(painter.draw(Sampler(2, 3.0, 16, 16, options={"clip_skip": 9}), [Drawing("a red circle", 5)]))


def test_a_size_of_a_model_s_own_keeps_a_task_s_proportions() -> None:
    sides = {(1024, 1024, 768): (768, 768), (832, 1216, 1024): (832, 1216), (1216, 832, 512): (640, 448)}
    sides |= {(16, 16, 24): (24, 24), (16, 16, 500): (500, 500), (16, 8, 24): (32, 16), (4096, 8, 64): (1472, 64)}
    for (width, height, size), scaled in sides.items():
        assert scale_sides(width, height, size) == scaled
    sampler = Sampler(8, 3.0, 1216, 832)
    assert sampler.drawn_in(OwnDrawing()) == sampler
    assert sampler.drawn_in(OwnDrawing(2, 512)) == Sampler(2, 3.0, 640, 448)


def test_noise_that_a_scheduler_adds_is_the_item_s_own_even_where_the_pipeline_gives_it_no_generator() -> None:
    pipeline = make_source("FluxPipeline", 0)
    sampler = Sampler(3, 1.0, 16, 16, scheduler={"class": "FlowMatchLCMScheduler"}, options=CALLS["FluxPipeline"])
    drawings = [Drawing("a red circle", 5), Drawing("a red circle", 6)]
    apart = [drawn.pixels for batch in Painter(pipeline, "cpu", 1).draw(sampler, drawings) for drawn in batch]
    (together,) = Painter(pipeline, "cpu", 2).draw(sampler, drawings)
    for one, drawn in zip(apart, together, strict=True):
        assert np.abs(one.astype(int) - drawn.pixels).max() <= 1
    assert np.abs(apart[0].astype(int) - apart[1]).max() > 1


def test_rules_of_two_folders_have_modules_of_one_name_each(tmp_path: Path) -> None:
    given = []
    for number in (1.0, 2.0):
        (folder := tmp_path / str(number)).mkdir()
        (folder / "helper.py").write_text(f"NUMBER = {number}\n")
        (folder / "judge.py").write_text("import helper\n\ndef right(picture, row):\n    return helper.NUMBER\n")
        judge = parse_judge("judge", {"rule": str(folder / "judge.right")}).open(None, "cpu")
        given.append(judge.judge([Image.new("RGB", (8, 8))], [{"prompt": "a cat"}]))
    assert given == [[{"score": 1.0}], [{"score": 2.0}]]
    (folder / "judge.py").write_text("raise SystemExit(0)")
    with pytest.raises(EvaluationError, match=r"judge\.py cannot be imported: SystemExit: 0"):
        parse_judge("judge", {"rule": str(folder / "judge.right")}).open(None, "cpu")


def test_pictures_are_drawn_without_a_safety_checker_which_stays_in_the_pipeline(
    pipeline: DiffusionPipeline,
) -> None:
    checked = with_safety_checker(pipeline)
    plain, black = (by_hand(one, "a red circle", 5) for one in (pipeline, checked))
    assert not np.asarray(black).any()
    sampler = Sampler(2, 3.0, 16, 16, "blurred")
    (drawn,) = next(Painter(checked, "cpu", 1).draw(sampler, [Drawing("a red circle", 5)]))
    assert np.array_equal(drawn.pixels, np.asarray(plain))
    assert checked.safety_checker is not None and not np.asarray(by_hand(checked, "a red circle", 5)).any()
    assert checked.config["safety_checker"] == ("stable_diffusion", "StableDiffusionSafetyChecker")


def test_batches_that_do_not_fit_are_halved(pipeline: DiffusionPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, drawings = Sampler(2, 3.0, 16, 16), [Drawing("a red circle", seed) for seed in range(7)]
    painter = Painter(pipeline, "cpu", 7)
    whole = [one.pixels for some in painter.draw(sampler, drawings) for one in some]
    own = Painter._draw

    def draw(self: Painter, sampler: Sampler, batch: list[Drawing]) -> list[DrawnPicture]:
        if len(batch) > 2:
            raise torch.OutOfMemoryError
        return own(self, sampler, batch)

    monkeypatch.setattr(Painter, "_draw", draw)
    parts = list(painter.draw(sampler, drawings))
    assert [len(some) for some in parts] == [1] * 7 and [one.drawing for some in parts for one in some] == drawings
    assert all(np.abs(a.astype(int) - b[0].pixels).max() <= 1 for a, b in zip(whole, parts, strict=True))
    monkeypatch.setattr(Painter, "_draw", own)  # there is room again
    (again,) = painter.draw(sampler, drawings)
    assert all(np.array_equal(a, b.pixels) for a, b in zip(whole, again, strict=True))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EvaluationError, match=r"need diffusers; pip install 'shoal\[image\]'"):
        SUITES["image"]([], [], SplitSizes(), 0)


def test_rounds_have_every_item_once_and_a_picture_is_drawn_once_for_all_who_judge_it(
    write_task: WriteTask, pipeline: DiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    skills = (Skill("a", (SkillTask("colours", "light"),)), Skill("b", (SkillTask("colours", "right"),)))
    metrics = [{"metric": "light", "higher_is_better": False}, {"metric": "right"}]
    rows = [{**row, "seed": seed} for row in ROWS for seed in range(5)]
    quick = {"steps": 1, "guidance": 0, "width": 16, "height": 16}
    folder = write_task("rule: !function colours.both", rows, metric_list=metrics, sampler=quick)
    suite = load(folder, skills, search=24)
    whole = suite.build(Split.SEARCH, settings(pipeline), [])
    painter = suite.wrap(pipeline, settings(pipeline), "cpu", 1)
    rounds = whole.rounds(2, painter)
    assert len(rounds) == 2 and sum(one.cost for one in rounds) == pytest.approx(1)
    assert len({whole.digest, *(one.digest for one in rounds)}) == 3
    found = {(score.skill, score.item): score.value for one in rounds for score in one.score(painter)}
    assert found == {(score.skill, score.item): score.value for score in whole.score(painter)}
    assert len(found) == 48 and {item.task for item in whole.items} == {"colours:light", "colours:right"}
    assert [(one.higher_is_better, one.items[Split.SEARCH]) for one in suite.describe()] == [(False, 24), (True, 24)]
    half = whole.sample(0.5)
    assert [item.item for item in half.items[:12]] == [item.item for item in whole.items[:12]]
    write_task(rows=rows, task="again", sampler=quick)  # another task of the same prompts and settings
    both = load(folder, (*skills, Skill("c", (SkillTask("again", "score"),))), search=24)
    drawn: list[Drawing] = []
    own = Painter._draw
    monkeypatch.setattr(Painter, "_draw", lambda self, sampler, batch: drawn.extend(batch) or own(self, sampler, batch))
    assert len(both.build(Split.SEARCH, settings(pipeline), []).score(painter)) == 3 * 24
    assert len(drawn) == len(set(drawn)) == 24


def test_digests_say_what_decides_scores(write_task: WriteTask, pipeline: DiffusionPipeline) -> None:
    def item_digest(*, setting: str = "cpu", processor: dict[str, object] | None = None, **changes: Any) -> str:
        suite = load(write_task(**changes))
        return suite.build(Split.SEARCH, processor or settings(pipeline), [setting]).items[0].digest

    first = item_digest()
    assert item_digest() == first and item_digest(rows=ROWS[:10]) == first
    other = {**settings(pipeline), "prediction_type": "v_prediction"}
    assert item_digest(processor={**settings(pipeline), "_diffusers_version": "0"}) == first
    sampler = {"steps": 3, "guidance": 3.0, "width": 16, "height": 16}
    changed = [item_digest(setting="cuda"), item_digest(processor=other), item_digest(sampler=sampler)]
    folder = write_task()
    (folder / "other.py").write_text("LIGHT = 1\n")  # the rule may import it
    changed.append(item_digest())
    for content in ("[1]", "[2]"):
        (folder / "limits.json").write_text(content)  # the rule may read it
        changed.append(item_digest())
    assert len({first, *changed}) == 7
    for kept in ("more.jsonl", "__pycache__/colours.pyc", ".notes.json"):
        (folder / kept).parent.mkdir(exist_ok=True)
        (folder / kept).write_text("{}")
        assert item_digest() == changed[-1]
    (folder / "gone.json").symlink_to("nowhere")
    assert item_digest() == changed[-1]


def test_the_card_s_picture_is_that_of_a_plain_call(write_task: WriteTask, pipeline: DiffusionPipeline) -> None:
    suite = load(write_task())
    items = suite.build(Split.REPORT, settings(pipeline), []).items
    sample = suite.ask(pipeline, settings(pipeline), items)
    drawing = sample.question.drawing
    assert drawing is not None and len(sample.question.prompt) == min(
        len(suite.tasks["colours"].item(i.item).prompt) for i in items
    )
    (png,) = sample.pictures
    noise = torch.Generator("cpu").manual_seed(drawing.seed)
    plain = pipeline(sample.question.prompt, generator=noise, **drawing.arguments).images[0]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), np.asarray(plain))
    (example,) = suite.example_prompts()
    assert example.drawn and "16 × 16 pixels in 2 steps" in example.drawn and "colours.amount" in example.drawn
    head, prompt, foot = layout_prompt(example).split("\n")
    assert "colours:score" in head and prompt == example.prompt and example.drawn in foot


def test_pictures_that_are_no_pictures_are_flagged(write_task: WriteTask) -> None:
    pipeline = make_pipeline(seed=3)
    suite = load(write_task())
    eval_set = suite.build(Split.SEARCH, settings(pipeline), [])
    painter = suite.wrap(pipeline, settings(pipeline), "cpu", 4)
    last = pipeline.vae.decoder.conv_out
    kept = copy.deepcopy(last.state_dict())

    def flags() -> set[str | None]:
        painter.put(pipeline)
        return {score.flag for score in flag_alike(eval_set.score(painter))}

    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()
        assert flags() == {FLAT}
        last.bias.fill_(torch.nan)
        assert flags() == {NOT_FINITE}
        last.load_state_dict(kept)
        pipeline.unet.conv_out.weight.zero_()  # the prompt no longer counts
        pipeline.unet.conv_out.bias.zero_()
        pipeline.vae.post_quant_conv.weight.zero_()  # nor does the noise
        assert flags() <= {EQUAL, FLAT} and degenerate_share(flags()) == 1
    loud = np.zeros((8, 8, 3), np.uint8)
    loud[:4, :, 0] = 255
    ink = np.zeros((8, 8, 3), np.uint8)
    ink[::2] = 255
    assert [flag_picture(one, finite=True) for one in (loud, ink)] == ["saturated", "ok"]
    pictures = [(ink, "cat"), (ink, "dog"), (loud, "cow")]
    scores = [ItemScore("a", "b", about, 1.0, FINE, make_sketch(pixels, about)) for pixels, about in pictures]
    assert [score.flag for score in flag_alike(scores)] == [EQUAL, EQUAL, FINE]
    elsewhere = [replace(score, task=score.item) for score in scores]
    assert [score.flag for score in flag_alike(elsewhere)] == [FINE] * 3


def test_prompts_of_one_subject_may_be_drawn_alike(write_task: WriteTask) -> None:
    """As translations are: only pictures of different subjects are equal."""
    pipeline = make_pipeline(seed=3)
    rows = [{**row, "prompt": f"{lead} {row['prompt']}", "about": row["prompt"]} for row in ROWS for lead in "ab"]
    (task,) = load(write_task(rows=rows, subject="about")).build(Split.SEARCH, settings(pipeline), []).tasks
    noise = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    subjects = [item.subject for item in task.items]
    of_first = [one.item for one in task.items if one.subject == subjects[0]]
    alike = replace(task, items=tuple(one for one in task.items if one.subject == subjects[0]))
    assert len(of_first) == 2
    judged = {(0, item): _Judged({"score": 1.0}, FINE, make_sketch(noise, subjects[0])) for item in of_first}
    assert [score.flag for score in flag_alike(list(_scores(alike, 0, judged)))] == [FINE, FINE]


def test_settings_that_fail_at_the_first_picture_are_named_with_their_task(
    write_task: WriteTask, pipeline: DiffusionPipeline
) -> None:
    own = {"steps": 3, "guidance": 3.0, "width": 16, "height": 16}
    karras = {"class": "EulerDiscreteScheduler", "timestep_spacing": "sideways", "use_karras_sigmas": True}
    wrong = {
        "skipping": ({"options": {"clip_skip": 9}}, "options.clip_skip: got 9: .* tuple index out of range"),
        "spacing": ({"scheduler": karras}, "scheduler.timestep_spacing: got sideways: "),
        "odd": ({"width": 20}, "width and height: got 20 and 16: .* divisible by 8"),
        "sharp": ({"options": {"sharpness": 1}}, "options.sharpness: .* has no argument sharpness"),
        "many": (
            {"scheduler": {"class": "LCMScheduler", "original_inference_steps": 2}},
            "scheduler.original_inference_steps: got 2: ",
        ),
    }
    write_task(sampler=own)
    for name, (changes, _) in wrong.items():
        folder = write_task(task=name, sampler={**own, **changes})
    suite = load(folder, tuple(Skill(name, (SkillTask(name, "score"),)) for name in ("colours", *wrong)))
    painter = suite.wrap(pipeline, settings(pipeline), "cpu", 1)
    with pytest.raises(EvaluationError) as caught:
        suite.try_out(painter, OwnDrawing())
    lines = str(caught.value).splitlines()
    assert len(lines) == len(wrong)
    for line, (name, (_, words)) in zip(lines, sorted(wrong.items()), strict=True):
        assert re.match(rf"task {name}: sampler\.{words}", line), line
    good = load(folder)
    good.try_out(painter, OwnDrawing())
    good.try_out(painter, OwnDrawing(7, 24))
    with pytest.raises(EvaluationError, match=r"task colours: in 3 steps at 20 × 20 pixels: .* divisible by 8"):
        good.try_out(painter, OwnDrawing(size=20))
    assert "forward" not in vars(pipeline.unet)


def test_rules_are_tried_with_pictures_of_each_size_and_pipelines_that_ignore_it_are_refused(
    write_task: WriteTask, pipeline: DiffusionPipeline
) -> None:
    folder = write_task("rule: !function colours.square")
    with (folder / "colours.py").open("a") as file:
        file.write("\n\ndef square(picture, row):\n    return 1 / (picture.width == 16)\n")
    suite = load(folder)
    painter = suite.wrap(pipeline, settings(pipeline), "cpu", 1)
    suite.try_out(painter, OwnDrawing())
    with pytest.raises(EvaluationError, match=r"task colours: at 24 × 24 pixels: rule colours.square fails on .* Zer"):
        suite.try_out(painter, OwnDrawing(size=24))
    binning = make_source("PixArtSigmaPipeline", 0)
    pixels = {"steps": 2, "guidance": 3.0, "width": 16, "height": 16}
    options = CALLS["PixArtSigmaPipeline"]
    asked = load(write_task(sampler={**pixels, "options": options}))
    asked.try_out(painter := asked.wrap(binning, settings(binning), "cpu", 1), OwnDrawing(size=24))
    left_out = {name: value for name, value in options.items() if name != "use_resolution_binning"}
    asked = load(write_task(sampler={**pixels, "options": left_out}))
    with pytest.raises(EvaluationError, match=r"options\.use_resolution_binning: without false, pictures are drawn in"):
        asked.try_out(painter, OwnDrawing(size=24))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": [*ROWS, ROWS[3]]}, r"colours.jsonl line 13: its prompt 'a red square right' is that of line 4"),
        ({"rows": [{"text": "a cat"}]}, r"line 1: prompt: no text in column 'prompt'; its columns are text"),
        ({"prompt": "{{colour}} {{size}}"}, "'size' is undefined"),
        ({"rows": ROWS[:2]}, "leave none for the .* split; give more prompts"),
        ({"dataset": {"train": "colours.jsonl", "test": "colours.jsonl"}}, "is about the same as"),
        ({"dataset": "gone.jsonl"}, "dataset: got 'gone.jsonl': there is no such file"),
        (
            {"sampler": {"steps": 0, "guidance": 1, "width": 8, "height": 8}},
            r"sampler.steps: got 0: give a whole number",
        ),
        ({"sampler": {"steps": 4, "width": 8, "height": 8}}, "sampler.guidance: it is missing"),
        ({"smapler": {}}, r"smapler: there is no such key \(did you mean sampler\?\)"),
        ({"seeds": 0}, "seeds: got 0"),
        ({"judge": "rule: colours.amount"}, r"judge.rule: got 'colours.amount': write !function file.name"),
        ({"judge": "rule: !function gone.amount"}, "there is no file gone.py"),
        ({"judge": "rule: !function colours.gone"}, "colours.py has no function gone"),
        ({"judge": "rule: !function colours.both"}, "rule colours.both gives no score but light, right"),
        ({"rows": [{"prompt": f"a {n}"} for n in range(9)]}, "rule colours.amount fails on 'a 0': KeyError: 'colour'"),
        ({"judge": "fame: {}"}, "judge.fame: there is no such judge; use rule"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(
    write_task: WriteTask, changes: dict[str, Any], words: str
) -> None:
    folder = write_task(**changes)
    with pytest.raises(EvaluationError, match=words) as caught:
        load(folder).describe()
    assert "\n" not in str(caught.value) and str(caught.value).startswith("task colours: ")


def test_skills_that_do_not_fit_pictures_are_found_without_loading_anything(write_task: WriteTask) -> None:
    folder = write_task()
    use = SkillTask("colours", "scores", filter="first", num_fewshot=2)
    skills = [Skill("a", (use, SkillTask("colour", "score")), chat_template=True, language="ja")]
    faults = list(TASK_CHECKS["image"](skills, [folder]))
    assert [(fault.task, fault.key) for fault in faults] == [
        *[(None, "chat_template"), (None, "language")],
        *[(0, "metric"), (0, "filter"), (0, "num_fewshot"), (1, "task")],
    ]
    assert "did you mean score" in faults[2].reason and "did you mean colours" in faults[5].reason
    sampler = {"steps": 2, "guidance": 3.0, "width": 16, "height": 16}
    for scheduler, words in (
        ({"class": "EulerDiscreteScheduler", "timestep_spacing": "trailing"}, None),
        ("LCMScheduler", None),
        ("EulerScheduler", "class: got 'EulerScheduler': diffusers has no such scheduler"),
        ({"class": "LCMScheduler", "use_karras_sigmas": True}, "use_karras_sigmas: LCMScheduler has no such setting;"),
    ):
        folder = write_task(sampler={**sampler, "scheduler": scheduler})
        found = list(TASK_CHECKS["image"]((Skill("a", (SkillTask("colours", "score"),)),), [folder]))
        assert [fault.key for fault in found] == (["task"] if words else [])
        assert words is None or f"task colours: sampler.scheduler.{words}" in found[0].reason


def test_translations_of_a_prompt_and_pictures_of_one_are_in_one_split(write_task: WriteTask) -> None:
    rows = [{"prompt": words, "what": f"{n}", "colour": "red"} for n in range(20) for words in (f"a {n}", f"{n} の絵")]
    suite = load(write_task(rows=rows, subject="what", seeds=2))
    places = suite.tasks["colours"].test
    for split in Split:
        items = {item.item for item in suite.build(split, {}, []).items}
        about = [places[item].row["what"] for item in items]
        assert items and all(about.count(one) == 4 for one in about)

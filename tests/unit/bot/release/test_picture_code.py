"""The code on the card of an image generator runs as it is, and draws the picture on the card, to the bit."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt
from PIL import Image

from bot.release.card.card import render_release_card
from bot.release.card.collect import find_filter
from bot.release.card.example import ExampleItems, example_facts
from bot.release.card.facts import CardFacts
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Split, SplitSizes
from evaluation.suites import SUITES
from fixtures.drawn_facts import picture_facts
from fixtures.golden import weight_merge_facts
from fixtures.picture_tasks import write_picture_task
from fixtures.tiny_models import recipe_of
from fixtures.tiny_painters import make_pipeline, with_safety_checker
from fixtures.tiny_pipelines import CALLS, pipeline_pool
from merging.kinds import KINDS
from merging.models.components import read_components
from merging.sources.model_config import read_model_config
from merging.writing.release import write_release

SAMPLER = {
    "steps": 2,
    "guidance": 3.0,
    "width": 16,
    "height": 16,
    "negative_prompt": 'blurred "picture"\n```',
    "scheduler": {"class": "EulerDiscreteScheduler", "timestep_spacing": "trailing"},
    "options": {"guidance_rescale": 0.5},
}
PLAIN = {name: SAMPLER[name] for name in ("steps", "guidance", "width", "height")}


@pytest.mark.parametrize(
    ("family", "sampler"),
    [
        ("StableDiffusionPipeline", SAMPLER),
        ("StableDiffusionPipeline", PLAIN),
        ("FluxPipeline", {**PLAIN, "scheduler": "FlowMatchLCMScheduler", "options": CALLS["FluxPipeline"]}),
    ],
)
def test_the_code_draws_what_the_live_pipeline_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, sampler: dict[str, Any]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "unset afterwards")
    monkeypatch.chdir(tmp_path)
    kind, pool = KINDS["image"], pipeline_pool(tmp_path, family, sources=2)
    first = next(iter(pool.values()))
    components = read_components(read_model_config(first.folder), "first")
    partition = kind.partition(first.names, bands=2, modules_apart=True, ends_apart=True, components=components)
    recipe, release = recipe_of("linear", list(pool), partition), tmp_path / "release"
    write_release(recipe, pool, release, {})

    skill = Skill("colours", (SkillTask("colours", "score"),))
    suite = SUITES["image"]([skill], [write_picture_task(tmp_path / "tasks", sampler=sampler)], SplitSizes(), 0)
    processor = kind.load_processor(release)
    items = suite.build(Split.REPORT, processor, ()).items
    sample = suite.ask(recipe.live_model(kind.live(first.folder, pool, dtype="float32")), processor, items)

    code = code_of(sample, release)
    assert ("scheduler.step" in code) == (family == "FluxPipeline")  # whose steps draw noise without the generator
    exec(code, {})
    (png,) = sample.pictures
    drawn = np.asarray(Image.open("picture.png"))
    assert drawn.std() > 1 and np.array_equal(drawn, np.asarray(Image.open(io.BytesIO(png))))
    assert find_filter(kind, release) is None


def test_a_card_says_that_pictures_were_drawn_without_the_safety_checker_that_its_code_loads(tmp_path: Path) -> None:
    with_safety_checker(make_pipeline()).save_pretrained(tmp_path)
    found = find_filter(KINDS["image"], tmp_path)
    assert found == "safety checker" and find_filter(KINDS["language"], tmp_path) is None
    facts = picture_facts(weight_merge_facts())
    shown = replace(facts, example=replace(facts.example, answer="", picture="pictures/example.png"))
    plain, checked = (" ".join(render_release_card(replace(shown, filter=one)).split()) for one in (None, found))
    assert "It draws: <img" in plain and "safety checker" not in plain
    assert "It draws, unless its safety checker makes it black: <img" in checked
    assert "All pictures were drawn and scored without it" in checked


def code_of(sample: Any, release: Path) -> str:
    facts = replace(picture_facts(weight_merge_facts()), repo=str(release))
    example = example_facts(ExampleItems("colours", None, ()), sample)
    assert example.picture is not None
    card = render_release_card(replace(facts, example=example))
    assert f'It draws:\n\n<img src="{example.picture}"' in card
    return next(token.content for token in MarkdownIt().parse(card) if token.info == "python")


def test_a_release_that_could_not_be_asked_has_code_without_its_picture() -> None:
    facts: CardFacts = picture_facts(weight_merge_facts())
    card = render_release_card(replace(facts, example=replace(facts.example, answer=None, picture=None), grid=None))
    assert "num_inference_steps=8" in card and "It draws" not in card and "widget" not in card
    assert "What it draws" not in card and "thumbnail" not in card

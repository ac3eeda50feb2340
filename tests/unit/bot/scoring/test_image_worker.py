"""A worker scores image generators: candidates in memory, written releases, and the picture that a card shows."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bot.scoring.resources import Resources
from bot.scoring.worker import NotFiniteError, Worker
from bot.scoring.worker_spec import WorkerSpec
from evaluation.eval_set import OwnDrawing
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Split, SplitSizes
from fixtures.picture_tasks import write_picture_task
from fixtures.tiny_models import recipe_of
from fixtures.tiny_pipelines import pipeline_pool
from merging.kinds import KINDS
from merging.models.components import read_components
from merging.sources.model_config import read_model_config
from merging.writing.release import write_release


def test_a_written_pipeline_scores_what_its_candidate_scored(tmp_path: Path) -> None:
    pool = pipeline_pool(tmp_path, "StableDiffusionPipeline", sources=2)
    first, *_ = pool
    spec = WorkerSpec(
        kind="image",
        sources=tuple(pool),
        checkpoints=tuple((model, weights.folder) for model, weights in pool.items()),
        config_source=first,
        dtype="float32",
        skills=(Skill("colours", (SkillTask("colours", "score"),)),),
        task_folders=(write_picture_task(tmp_path / "tasks"),),
        sizes=SplitSizes(),
        seed=0,
        resources=Resources(workers=1, threads=1, device="cpu", batch_size=4),
    )
    worker = Worker(spec)
    facts = worker.facts(Split.SEARCH)
    kind, weights = KINDS["image"], pool[first]
    components = read_components(read_model_config(weights.folder), "first")
    partition = kind.partition(weights.names, bands=2, modules_apart=True, ends_apart=True, components=components)
    recipe = recipe_of("linear", list(pool), partition)
    scored = worker.evaluate(recipe, Split.SEARCH)
    assert scored.eval_set == facts.digest and len(scored.scores) == len(facts.items)
    release = tmp_path / "release"
    write_release(recipe, pool, release, {})
    assert worker.evaluate_folder(release, Split.SEARCH).scores == scored.scores
    sample = worker.ask(release, facts.items)
    drawing, (png,) = sample.question.drawing, sample.pictures
    assert drawing is not None
    noise = torch.Generator("cpu").manual_seed(drawing.seed)
    plain = kind.load(release)(sample.question.prompt, generator=noise, **drawing.arguments).images[0]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), np.asarray(plain))
    quick = replace(recipe, steps=1)
    other = worker.evaluate(quick, Split.SEARCH)
    assert other.eval_set == facts.digest and other.scores != scored.scores
    assert worker.evaluate_folder(release, Split.SEARCH, OwnDrawing(1)).scores == other.scores
    drawing = worker.ask(release, facts.items, OwnDrawing(1)).question.drawing
    assert drawing is not None and drawing.arguments["num_inference_steps"] == 1
    large, own = replace(recipe, steps=1, size=24), OwnDrawing(1, 24)
    third = worker.evaluate(large, Split.SEARCH)
    assert third.eval_set == facts.digest and third.scores not in (other.scores, scored.scores)
    assert worker.evaluate_folder(release, Split.SEARCH, own).scores == third.scores
    asked, live = worker.ask(release, facts.items, own), worker.ask_candidate(large, facts.items[0])
    assert {Image.open(io.BytesIO(png)).size for one in (asked, live) for png in one.pictures} == {(24, 24)}
    assert asked.question.drawing is not None and asked.question.drawing.arguments["height"] == 24
    assert worker.evaluate(recipe, Split.SEARCH).scores == scored.scores
    broken = worker._models.model.unet.conv_out
    with torch.no_grad():
        broken.bias.fill_(torch.nan)
    with pytest.raises(NotFiniteError):
        worker.evaluate(recipe, Split.SEARCH)

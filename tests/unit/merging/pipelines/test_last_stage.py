"""A LoRA as the last stage of a merge: added once the sources are merged, times a scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

from fixtures.tiny_loras import fused, kohya, save_lora
from fixtures.tiny_pipelines import draw, make_source
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kinds import KINDS
from merging.models.components import read_components
from merging.pipelines.lora import open_lora
from merging.pipelines.weights import PipelineWeights, open_pipeline
from merging.recipes.last_stage import LastStage
from merging.recipes.recipe import read_recipe
from merging.recipes.weight_merge import WeightMerge
from merging.sources.model_config import read_model_config
from merging.writing.release import write_release

IMAGE = KINDS["image"]
FIRST, SECOND = ModelId("author/first", "1" * 40), ModelId("author/second", "2" * 40)
FEW_STEPS = replace(FIRST, adapter=ModelId("author/fast", "3" * 40, file="four-steps.safetensors"))
Sources = Mapping[ModelId, PipelineWeights]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_lora(tmp_path_factory.mktemp("lora"))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, saved: Path) -> Sources:
    found: dict[ModelId, PipelineWeights] = {}
    for seed, model in enumerate((FIRST, SECOND)):
        folder = tmp_path_factory.mktemp(f"source-{seed}")
        make_source("StableDiffusionPipeline", seed).save_pretrained(folder)
        found[model] = open_pipeline(folder)
    return {**found, FEW_STEPS: open_lora(found[FIRST], saved)}


def merge(
    sources: Sources, scale: float | None, *, text_encoder: ModelId = FIRST, dtype: str = "float32"
) -> WeightMerge:
    first = sources[FIRST]
    components = read_components(read_model_config(first.folder), "first")
    groups = IMAGE.partition(first.names, bands=1, modules_apart=False, ends_apart=False, components=components).taking(
        {"VAE": FIRST, "text encoder": text_encoder}
    )
    stage = None if scale is None else LastStage(FEW_STEPS, scale)
    rows = ((0.75,), (0.5,))
    return WeightMerge("linear", (FIRST, SECOND), None, groups, (("weight", rows),), dtype, 0, last_stage=stage)


@pytest.mark.parametrize(("form", "text_encoder"), [("diffusers", SECOND), ("kohya", FIRST)])
def test_a_last_stage_gives_the_weights_that_diffusers_fuses_into_the_written_merge(
    sources: Sources, saved: Path, tmp_path: Path, form: str, text_encoder: ModelId
) -> None:
    place = saved if form == "diffusers" else kohya(saved, tmp_path)
    read = {**sources, FEW_STEPS: open_lora(sources[FIRST], place)}
    plain, staged = (merge(read, scale, text_encoder=text_encoder) for scale in (None, 0.7))
    write_release(plain, read, tmp_path / "plain", {})
    write_release(staged, read, tmp_path / "staged", {})
    found, before = open_pipeline(tmp_path / "staged"), open_pipeline(tmp_path / "plain")
    changed = 0
    for name, weight in fused(tmp_path / "plain", place, 0.7).items():
        torch.testing.assert_close(found.tensor(name), weight, rtol=1e-5, atol=1e-6)
        is_changed = not torch.equal(found.tensor(name), before.tensor(name))
        assert is_changed == read[FEW_STEPS].may_change(name)
        changed += is_changed
    assert changed > 10
    live = IMAGE.live(sources[FIRST].folder, read, dtype="float32")
    for recipe, folder in ((plain, "plain"), (staged, "staged"), (plain, "plain")):
        pictures = draw(recipe.live_model(live))
        assert np.array_equal(pictures, draw(DiffusionPipeline.from_pretrained(tmp_path / folder)))


def test_in_half_precision_merge_and_stage_are_rounded_once_together(sources: Sources, tmp_path: Path) -> None:
    half, full = (merge(sources, 1.3, dtype=dtype) for dtype in ("bfloat16", "float32"))
    for recipe, folder in ((half, "half"), (full, "full")):
        write_release(recipe, sources, tmp_path / folder, {})
    written, exact = open_pipeline(tmp_path / "half"), open_pipeline(tmp_path / "full")
    live = half.live_model(IMAGE.live(sources[FIRST].folder, sources, dtype="bfloat16"))
    for name in (name for name in exact.names if not name.startswith("vae.")):
        folder, _, own = name.partition(".")
        rounded = exact.tensor(name).bfloat16()
        assert torch.equal(written.tensor(name), rounded)
        assert torch.equal(live.components[folder].state_dict()[own], rounded)


def test_another_scale_rewrites_what_the_adapter_changes_alone(sources: Sources) -> None:
    live = IMAGE.live(sources[FIRST].folder, sources, dtype="float32")
    pipeline = merge(sources, 0.5).live_model(live)
    with torch.no_grad():
        for parameter in pipeline.unet.parameters():
            parameter.fill_(7.0)
    merge(sources, 0.75).live_model(live)
    for name, weight in pipeline.unet.named_parameters():
        assert bool((weight == 7).all()) != sources[FEW_STEPS].may_change(f"unet.{name}")


def test_a_recipe_says_its_last_stage_and_one_without_has_its_old_digest(sources: Sources) -> None:
    recipe = merge(sources, 1)
    assert read_recipe(recipe.to_json()) == recipe and recipe.origins == (FIRST, SECOND, FEW_STEPS)
    assert recipe.merged_models == (FIRST, SECOND) and not recipe.is_single
    assert recipe.digest == merge(sources, 1.0).digest != merge(sources, 1.1).digest
    assert recipe.describe() == "linear, then author/fast"
    assert "last_stage" not in merge(sources, None).to_json()
    newer = replace(FEW_STEPS, revision="4" * 40)
    stage = recipe.with_models({FEW_STEPS: newer}).last_stage
    assert stage is not None and stage.adapted == newer


@pytest.mark.parametrize("scale", [0.0, float("nan"), float("inf")])
def test_a_scale_that_adds_nothing_or_no_number_is_refused(scale: float) -> None:
    with pytest.raises(MergingError, match=r"last_stage.scale: got .*: give a finite number other than 0"):
        LastStage(FEW_STEPS, scale)


def test_a_stage_of_a_model_without_an_adapter_is_refused() -> None:
    with pytest.raises(MergingError, match=r"last_stage.adapted: got author/first@1+: name a model with an adapter"):
        LastStage(FIRST, 1.0)


def test_weights_that_overflow_with_the_adapter_are_refused(sources: Sources, tmp_path: Path) -> None:
    with pytest.raises(MergingError, match="the merge is not finite in float16: use smaller weights"):
        write_release(merge(sources, 1e9, dtype="float16"), sources, tmp_path / "release", {})
    assert not (tmp_path / "release").exists()

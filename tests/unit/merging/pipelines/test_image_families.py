"""Pipelines of six families are merged by one rule, live and written, to the same weights and the same pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from diffusers import DiffusionPipeline

from fixtures.tiny_pipelines import FAMILIES, draw, pipeline_pool
from merging.identity import ModelId
from merging.kinds import kind_of
from merging.mergekit.reader import parse_merge_config
from merging.models.components import read_components
from merging.partition import Partition
from merging.pipelines.assembling.recipe_writer import render_pipeline_recipe
from merging.pipelines.parts import CarrierShapes, plan_parts
from merging.pipelines.weights import PipelineWeights
from merging.recipes.weight_merge import WeightMerge
from merging.sources.model_config import read_model_config
from merging.writing.release import write_release
from merging.writing.tensor_values import TensorValues

SAKANA = ("to_q", "to_k", "to_v", "to_out.0")
"""What EvoSDXL's first vector weighs, by its own rule; its second weighs all other tensors of the UNet."""

LABELS: Mapping[str, tuple[str, ...]] = {
    "StableDiffusionPipeline": ("down 0 attention", "down 0 rest", "down 1 to mid rest", "up 0 to up 1 rest"),
    "StableDiffusion3Pipeline": ("layer 0 attention", "layer 0 rest", "layer 2 rest"),
    "FluxPipeline": ("layer 0 attention", "layers 1-2 rest", "layers 3-4 attention"),
}
"""Some of the groups of a denoiser in three bands."""


def divide(weights: PipelineWeights, carrier: ModelId, bands: int = 1, *, apart: bool = False) -> Partition:
    config = read_model_config(weights.folder)
    found = kind_of(config).partition(
        weights.names,
        bands=bands,
        modules_apart=True,
        ends_apart=apart,
        components=read_components(config, str(weights.folder)),
    )
    kept = {component.name for component in found.components} - {"denoiser"}
    return found.taking(dict.fromkeys(kept, carrier))


def two_vectors(sources: Mapping[ModelId, PipelineWeights]) -> WeightMerge:
    """A merge by two coefficients a source: of attention, and of the rest."""
    first, second = sources
    rows = ((0.25, 0.6), (0.75, 0.4))
    groups = divide(sources[first], first)
    return WeightMerge("linear", (first, second), None, groups, (("weight", rows),), "float32", 0)


def file_hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def is_attention(family: str, name: str) -> bool:
    if family.startswith("StableDiffusionPipeline") or "XL" in family:
        return any(word in name for word in SAKANA)
    return any(f".{word}." in name for word in ("attn", "attn1", "attn2"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_merges_by_the_formula_and_draws_the_same_pictures_live_and_loaded(
    family: str, tmp_path: Path
) -> None:
    sources = pipeline_pool(tmp_path, family, sources=2)
    carrier, other = sources.values()
    before = file_hashes(carrier.folder)
    recipe = two_vectors(sources)
    assert recipe.groups.labels[0].endswith("attention") and recipe.groups.labels[1].endswith("rest")

    hashes = write_release(recipe, sources, tmp_path / "release", {"README.md": b"a card"})
    kind = kind_of(read_model_config(carrier.folder))
    live = recipe.live_model(kind.live(carrier.folder, sources, dtype="float32"))
    loaded: Any = DiffusionPipeline.from_pretrained(tmp_path / "release")

    denoiser = kind.head(loaded).state_dict()
    folder = "unet" if "unet" in loaded.components else "transformer"
    for name, written in denoiser.items():
        share = 0.25 if is_attention(family, name) else 0.6
        first, second = (source.tensor(f"{folder}.{name}").double() for source in (carrier, other))
        torch.testing.assert_close(written.double(), share * first + (1 - share) * second, rtol=1e-6, atol=1e-7)
    for name, part in live.components.items():
        if isinstance(part, torch.nn.Module):
            weights = part.state_dict()
            assert all(torch.equal(weights[key], one) for key, one in loaded.components[name].state_dict().items())
    picture = draw(live)
    assert picture.std() > 0.05 and np.array_equal(picture, draw(loaded))

    assert hashes == file_hashes(tmp_path / "release")
    assert file_hashes(carrier.folder) == before
    kept = {path: digest for path, digest in before.items() if not path.startswith(folder) and "/" in path}
    assert kept.items() <= hashes.items() and len(kept) > 6


@pytest.mark.parametrize("family", LABELS)
def test_bands_are_of_stages_in_the_order_in_which_they_compute_and_a_recipe_file_says_them(
    family: str, tmp_path: Path
) -> None:
    sources = pipeline_pool(tmp_path, family, sources=1)
    ((carrier, weights),) = sources.items()
    groups = divide(weights, carrier, bands=3, apart=True)
    assert {f"denoiser {label}" for label in LABELS[family]} <= set(groups.labels)
    assert groups.labels[0] == "denoiser in" and groups.labels[-1] == "denoiser out"
    groups.check_names(weights.names)
    groups.merged.check_names(weights.names)
    assert Partition.from_json(groups.to_json()) == groups
    weight = ("weight", (tuple(range(1, len(groups.labels) + 1)),))
    recipe = WeightMerge("linear", (carrier,), None, groups, (weight,), "float32", 0)
    parts = plan_parts(recipe, CarrierShapes(weights.config, sources, weights.folder))
    config = parse_merge_config(yaml.safe_load(render_pipeline_recipe(recipe, parts, carrier)))
    (module,), values = config.slices, TensorValues(config)
    for name in (name for name in weights.names if groups.whole_source(name) is None):
        read, missing = values.values(name, {carrier: name}, (carrier,), module, 0.0)
        assert not missing and read["weight"] == recipe.values("weight", name), name
    assert not list(values.unread())

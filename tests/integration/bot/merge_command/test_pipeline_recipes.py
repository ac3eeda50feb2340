"""The recipe file beside a release of pipelines: `shoal merge` makes the same files of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from bot.home import Home
from bot.hub.client import Hub
from bot.merge_command.merge import Merger
from bot.progress import TerminalNarrator
from fixtures.tiny_loras import save_lora
from fixtures.tiny_pipelines import make_source
from merging.identity import ModelId
from merging.kinds import KINDS
from merging.models.components import read_components
from merging.partition import Partition
from merging.pipelines.lora import open_lora
from merging.pipelines.weights import PipelineWeights, open_pipeline
from merging.recipes.last_stage import LastStage
from merging.recipes.weight_merge import WeightMerge
from merging.sources.model_config import read_model_config
from merging.writing.companions import RECIPE_NAME
from merging.writing.release import write_release

A, B = ModelId("./a"), ModelId("./b")
STYLED = replace(B, adapter=ModelId("./style"))
FAST = replace(A, adapter=ModelId("./style"))
Sources = Mapping[ModelId, PipelineWeights]


@pytest.fixture(scope="module")
def bay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pipelines, of which the second has a tokenizer and weights of its own, and a LoRA."""
    folder = tmp_path_factory.mktemp("bay")
    for seed, name in enumerate(("a", "b")):
        make_source("StableDiffusionPipeline", seed).save_pretrained(folder / name)
    words = folder / "b" / "tokenizer" / "tokenizer.json"
    words.write_text(words.read_text().replace('"red": 5', '"red": 6').replace('"green": 6', '"green": 5'))
    (folder / "style").mkdir()
    save_lora(folder / "style")
    return folder


@pytest.fixture(scope="module")
def sources(bay: Path) -> Sources:
    first, second = open_pipeline(bay / "a"), open_pipeline(bay / "b")
    lora = bay / "style"
    return {A: first, B: second, STYLED: open_lora(second, lora), FAST: open_lora(first, lora)}


def divide(sources: Sources, whole: Mapping[str, ModelId], bands: int = 3) -> Partition:
    config = read_model_config(sources[A].folder)
    components = read_components(config, "a")
    found = KINDS["image"].partition(
        sources[A].names, bands=bands, modules_apart=True, ends_apart=True, components=components
    )
    return found.taking(whole)


def rows(groups: Partition, sources: int) -> tuple[tuple[float, ...], ...]:
    """A value of its own for each group and source."""
    count = range(len(groups.labels))
    return tuple(tuple(0.1 + 0.07 * group + 0.3 * source for group in count) for source in range(sources))


def hashes(folder: Path) -> dict[str, str]:
    """Of everything but the documents, which a release and a merge have each in their own words."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "README.md")
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("form", ["whole encoder", "lora and last stage", "merged encoder", "one model"])
def test_a_release_s_recipe_file_makes_every_file_of_it_again(bay: Path, sources: Sources, form: str) -> None:
    if form == "whole encoder":
        groups = divide(sources, {"text encoder": B, "VAE": A})
        values = (("density", rows(groups, 1)), ("weight", rows(groups, 1)))
        recipe = WeightMerge("dare_linear", (B,), A, groups, values, "bfloat16", 7, carrier=A, steps=4)
    elif form == "lora and last stage":
        groups = divide(sources, {"text encoder": B, "VAE": B})
        stage = LastStage(FAST, 0.7)
        values = (("weight", rows(groups, 2)),)
        recipe = WeightMerge("linear", (A, STYLED), None, groups, values, "float16", 0, carrier=A, last_stage=stage)
    elif form == "merged encoder":
        groups = divide(sources, {"VAE": B}, bands=1)
        recipe = WeightMerge("slerp", (A, FAST), None, groups, (("t", rows(groups, 1)),), "float32", 0, carrier=A)
    else:
        recipe = WeightMerge.single(STYLED, divide(sources, {}).merged.single_group, "float32", carrier=A)
    folder, again = bay / form, bay / f"{form} again"
    write_release(recipe, sources, folder, {}, config_source=sources[A].folder)
    (bay / f"{form}.yml").write_bytes((folder / RECIPE_NAME).read_bytes())
    narrator = TerminalNarrator(Console(quiet=True))
    merger = Merger(Home(bay / "home"), Hub("http://127.0.0.1:9"), narrator, seed=recipe.seed)
    merged = merger.merge(bay / f"{form}.yml", again)
    assert merged.plan.remarks == ()
    assert hashes(again) == hashes(folder)

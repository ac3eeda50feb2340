"""Every kind of model answers everything, in all rooms: how it is merged, how it is asked, how it is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import torch

import templates
from bot.demo import ZOOS, demo_watchlist
from bot.merge_command.kinds import STAGE_KINDS
from bot.release.card.kinds import USAGE, WORDS
from evaluation.suites import BATCH_SIZES, SUITE_MODULES, SUITES, TASK_CHECKS
from fixtures.tiny_models import pool, recipe_of
from fixtures.tiny_pipelines import pipeline_pool
from fixtures.tiny_vision_models import llava_pool
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kinds import COMPANION_FILES, KINDS, find_refusal, kind_of
from merging.kinds.kind import ModelKind
from merging.models.components import read_components
from merging.partition import Partition
from merging.sources.model_config import read_model_config
from merging.sources.weights import Weights
from merging.writing.companions import read_companions
from merging.writing.release import write_release

FAMILIES: Mapping[str, Callable[[Path], Mapping[ModelId, Weights]]] = {
    "language": lambda folder: pool(folder, "llama", sources=2, layers=4),
    "vision-language": lambda folder: llava_pool(folder, sources=2, layers=4),
    "image": lambda folder: pipeline_pool(folder, "StableDiffusionPipeline", sources=2),
}
"""A tiny family of models of each kind."""


NEITHER = "a causal language model or a vision-language model or a text-to-image pipeline"


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request: pytest.FixtureRequest) -> ModelKind:
    found: ModelKind = request.param
    return found


@pytest.fixture
def sources(kind: ModelKind, tmp_path: Path) -> Mapping[ModelId, Weights]:
    return FAMILIES[kind.name](tmp_path)


def divide(kind: ModelKind, sources: Mapping[ModelId, Weights], bands: int = 2) -> Partition:
    first = next(iter(sources.values()))
    components = read_components(read_model_config(first.folder), "first")
    return kind.partition(first.names, bands=bands, modules_apart=True, ends_apart=True, components=components)


def weights_of(model: Any) -> dict[str, torch.Tensor]:
    """By name; those of all components of a pipeline."""
    if isinstance(model, torch.nn.Module):
        return dict(model.state_dict())
    parts = ((folder, part) for folder, part in model.components.items() if isinstance(part, torch.nn.Module))
    return {f"{folder}.{name}": weight for folder, part in parts for name, weight in weights_of(part).items()}


def test_each_kind_is_in_every_room(kind: ModelKind) -> None:
    assert KINDS[kind.name] is kind and kind.library and kind.pipeline_tag
    assert KINDS.keys() == SUITES.keys() == SUITE_MODULES.keys() == BATCH_SIZES.keys() == TASK_CHECKS.keys()
    assert all(map(find_spec, (SUITE_MODULES[kind.name], *kind.live_modules))) and all(map(version, kind.packages))
    assert KINDS.keys() == USAGE.keys() == WORDS.keys() == STAGE_KINDS.keys() == ZOOS.keys()
    assert (files(templates) / USAGE[kind.name]).is_file()
    assert demo_watchlist("parameter", kind.name).kind == kind.name
    assert set(kind.inner_kinds) < KINDS.keys() and set(kind.processor_files) <= {file.path for file in kind.files}


def test_companion_files_are_inside_the_model_s_folder_and_limited(kind: ModelKind) -> None:
    paths = [file.path for file in kind.files]
    assert len(set(paths)) == len(paths) and COMPANION_FILES.keys() >= set(paths)
    for file in kind.files:
        assert not PurePosixPath(file.path).is_absolute() and ".." not in PurePosixPath(file.path).parts
        assert file.max_bytes > 0 and file.path != "config.json" and not file.path.endswith(".safetensors")


def test_a_kind_knows_its_models_by_their_config(kind: ModelKind, sources: Mapping[ModelId, Weights]) -> None:
    config = read_model_config(next(iter(sources.values())).folder)
    assert kind.find_refusal(config) is None and kind_of(config) is kind and find_refusal(config) is None


def test_its_partition_has_a_place_for_every_tensor(kind: ModelKind, sources: Mapping[ModelId, Weights]) -> None:
    names = next(iter(sources.values())).names
    partition = divide(kind, sources)
    partition.check_names(names)
    assert {one.name for one in partition.components[1:]} <= set(kind.other_components)
    assert {partition.group(name) for name in names} == set(range(len(partition.labels)))
    with pytest.raises(MergingError, match="bands"):
        divide(kind, sources, bands=99)


def test_a_written_model_is_loaded_back_as_it_was_in_memory(
    kind: ModelKind, sources: Mapping[ModelId, Weights], tmp_path: Path
) -> None:
    folder = next(iter(sources.values())).folder
    recipe = recipe_of("linear", list(sources), divide(kind, sources))
    write_release(recipe, sources, tmp_path / "release", {})
    live = recipe.live_model(kind.live(folder, sources, dtype="float32"))
    loaded = kind.load(tmp_path / "release")
    weights, written = weights_of(live), weights_of(loaded)
    assert weights.keys() == written.keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in written.items())
    assert not kind.head(loaded).training
    assert read_companions(folder).keys() <= {file.path for file in kind.files}


@pytest.mark.parametrize(
    ("architectures", "reason"),
    [
        (["FishForImageClassification"], f"its architecture FishForImageClassification is not {NEITHER}"),
        (["OddForCausalLM", "Odd"], "its architecture Odd is not a causal language model"),
        ([], "its config names no architecture"),
    ],
)
def test_a_model_of_no_kind_is_refused_with_the_reason(architectures: list[str], reason: str) -> None:
    assert find_refusal({"architectures": architectures}) == reason


def test_a_model_of_no_kind_is_never_built() -> None:
    with pytest.raises(MergingError, match=f"WhisperForConditionalGeneration is not {NEITHER}"):
        kind_of({"architectures": ["WhisperForConditionalGeneration"]})


def test_a_model_that_needs_its_own_code_is_refused_for_that() -> None:
    config = {"architectures": ["LlavaForConditionalGeneration"], "auto_map": {"AutoConfig": "code.Config"}}
    assert find_refusal(config) == "it needs custom code (auto_map in its config)"


def test_an_architecture_is_asked_for_under_the_config_s_own_model_type() -> None:
    config = {"model_type": "llava", "architectures": ["Qwen2VLForConditionalGeneration"]}
    assert find_refusal(config) == f"its architecture Qwen2VLForConditionalGeneration is not {NEITHER}"


@pytest.mark.parametrize("architectures", [None, [], ["LlamaModel"]])
def test_a_model_saved_without_its_head_counts_as_the_first_kind(architectures: list[str] | None) -> None:
    assert kind_of({"architectures": architectures}) is next(iter(KINDS.values()))

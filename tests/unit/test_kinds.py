"""Every kind of model answers everything, in all rooms: how it is merged, how it is asked, how it is shown."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path, PurePosixPath

import pytest
import torch

import templates
from bot.release.card.kinds import USAGE
from evaluation.suites import SUITES
from fixtures.tiny_models import pool, recipe_of
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kinds import COMPANION_FILES, KINDS, find_refusal, kind_of
from merging.kinds.kind import ModelKind
from merging.models.live import LiveModels
from merging.sources.checkpoint import Checkpoint
from merging.sources.json_object import read_json_object
from merging.writing.companions import read_companions
from merging.writing.release import write_release

FAMILIES = {"language": "llama"}
"""A tiny family of models of each kind."""


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request: pytest.FixtureRequest) -> ModelKind:
    found: ModelKind = request.param
    return found


@pytest.fixture
def sources(kind: ModelKind, tmp_path: Path) -> dict[ModelId, Checkpoint]:
    return pool(tmp_path, FAMILIES[kind.name], sources=2, layers=4)


def test_each_kind_is_in_every_room(kind: ModelKind) -> None:
    assert KINDS[kind.name] is kind and kind.library and kind.pipeline_tag
    assert KINDS.keys() <= SUITES.keys() and KINDS.keys() <= USAGE.keys()
    assert (files(templates) / USAGE[kind.name]).is_file()


def test_companion_files_are_inside_the_model_s_folder_and_limited(kind: ModelKind) -> None:
    paths = [file.path for file in kind.files]
    assert len(set(paths)) == len(paths) and COMPANION_FILES.keys() >= set(paths)
    for file in kind.files:
        assert not PurePosixPath(file.path).is_absolute() and ".." not in PurePosixPath(file.path).parts
        assert file.max_bytes > 0 and file.path != "config.json" and not file.path.endswith(".safetensors")


def test_a_kind_knows_its_models_by_their_config(kind: ModelKind, sources: dict[ModelId, Checkpoint]) -> None:
    config = read_json_object(next(iter(sources.values())).folder / "config.json")
    assert kind.find_refusal(config) is None and kind_of(config) is kind and find_refusal(config) is None


def test_its_partition_has_a_place_for_every_tensor(kind: ModelKind, sources: dict[ModelId, Checkpoint]) -> None:
    names = next(iter(sources.values())).names
    partition = kind.partition(names, bands=2, modules_apart=True, ends_apart=True)
    partition.check_names(names)
    assert {partition.group(name) for name in names} == set(range(len(partition.labels)))
    with pytest.raises(MergingError, match="bands"):
        kind.partition(names, bands=99, modules_apart=True, ends_apart=True)


def test_a_written_model_is_loaded_back_as_it_was_in_memory(
    kind: ModelKind, sources: dict[ModelId, Checkpoint], tmp_path: Path
) -> None:
    folder = next(iter(sources.values())).folder
    groups = kind.partition(next(iter(sources.values())).names, bands=2, modules_apart=True, ends_apart=True)
    recipe = recipe_of("linear", list(sources), groups)
    write_release(recipe, sources, tmp_path / "release", {})
    live = recipe.live_model(LiveModels(folder, sources, dtype="float32"))
    loaded = kind.load(tmp_path / "release")
    weights = live.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in loaded.state_dict().items())
    assert not loaded.training and isinstance(kind.head(loaded), torch.nn.Module)
    assert read_companions(folder).keys() <= {file.path for file in kind.files}


@pytest.mark.parametrize(
    ("architectures", "reason"),
    [
        (["FishForImageClassification"], "its architecture FishForImageClassification is not a causal language model"),
        (["LlamaForCausalLM", "Odd"], "its architecture Odd is not a causal language model"),
        ([], "its config names no architecture"),
    ],
)
def test_a_model_of_no_kind_is_refused_with_the_reason(architectures: list[str], reason: str) -> None:
    assert find_refusal({"architectures": architectures}) == reason


def test_a_model_of_no_kind_is_never_built() -> None:
    with pytest.raises(MergingError, match="LlavaForConditionalGeneration is not a causal language model"):
        kind_of({"architectures": ["LlavaForConditionalGeneration"]})


@pytest.mark.parametrize("architectures", [None, [], ["LlamaModel"]])
def test_a_model_saved_without_its_head_counts_as_the_first_kind(architectures: list[str] | None) -> None:
    assert kind_of({"architectures": architectures}) is next(iter(KINDS.values()))

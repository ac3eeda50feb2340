"""Merges of adapters: by every method as of the whole models that they stand for, with the same bits wherever made."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from fixtures.tiny_models import recipe_of, tiny_model
from merging.identity import ModelId
from merging.kernels.low_rank import low_rank_product, squared_lengths
from merging.merge_tensor import make_loader, merge_tensor
from merging.methods import METHODS
from merging.models.live import LiveModel
from merging.partition import Partition
from merging.recipes.last_stage import LastStage
from merging.sources.adapter import AdapterCheckpoint
from merging.sources.checkpoint import Checkpoint
from merging.sources.weights import Weights
from merging.writing.companions import RECIPE_NAME
from merging.writing.differences import difference_bytes, store_differences
from merging.writing.release import write_release

pytestmark = pytest.mark.slow

GROUPS = Partition.even(2, 2, modules_apart=True, ends_apart=True)
BASE = ModelId("tiny/base", "0" * 40)
TARGETS = {"plain": ["q_proj", "v_proj", "down_proj"], "wide": ["q_proj", "up_proj", "embed_tokens"]}


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and adapters on it, whose weights are random, and what they add."""
    import peft  # takes a second, and every process that runs tests reads this file

    made = tmp_path_factory.mktemp(request.param)
    tiny_model("llama", seed=1).to(getattr(torch, request.param)).save_pretrained(made / "base")
    for seed, (name, targets) in enumerate(TARGETS.items()):
        torch.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = AutoModelForCausalLM.from_pretrained(made / "base", dtype=torch.float32)
            config = peft.LoraConfig(r=3, target_modules=targets, init_lora_weights=False, use_dora=name == "wide")
            peft.get_peft_model(model, config).save_pretrained(made / name, save_embedding_layers=False)
        adapter = AdapterCheckpoint.open(Checkpoint.open(made / "base"), made / name)
        store_differences(adapter, made / f"{name}-stored")
        adapter.verify()
        weights = load_file(made / f"{name}-stored" / "model.safetensors")
        assert sum(weight.numel() * weight.element_size() for weight in weights.values()) == difference_bytes(adapter)
    return made


def pool(folder: Path, *, stored: bool = True) -> dict[ModelId, Weights]:
    base = Checkpoint.open(folder / "base")
    found: dict[ModelId, Weights] = {BASE: base}
    for name in TARGETS:
        differences = folder / f"{name}-stored" if stored else None
        adapter = ModelId(f"tiny/{name}", "1" * 40)
        found[ModelId(BASE.location, BASE.revision, adapter)] = AdapterCheckpoint.open(base, folder / name, differences)
    return found


def every_tensor(method: str, weights: Mapping[ModelId, Weights], *, summed: bool = False) -> dict[str, Tensor]:
    """The merged tensors. summed: of the adapters' sums, as if they were whole models in float32."""
    recipe = recipe_of(method, list(weights), GROUPS)
    load = make_loader(recipe, weights)
    return {
        name: merge_tensor(recipe, name, (lambda source, name: load(source, name)) if summed else load)
        for name in weights[BASE].names
    }


@pytest.mark.parametrize("method", sorted(name for name, one in METHODS.items() if name != "passthrough"))
def test_a_merge_of_adapters_is_that_of_the_whole_models_they_stand_for(method: str, folder: Path) -> None:
    ours, whole = (every_tensor(method, pool(folder), summed=summed) for summed in (False, True))
    for name, tensor in ours.items():
        apart = (tensor - whole[name]).abs() > 1e-4
        # A difference that is known exactly may be on the other side of a threshold than one taken of two sums.
        assert apart.float().mean() < 0.01, name
        assert torch.isfinite(tensor).all()


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "ties", "dare_ties", "slerp"])
def test_the_bits_are_the_same_live_written_and_without_what_is_stored(
    method: str, folder: Path, tmp_path: Path
) -> None:
    weights = pool(folder)
    recipe = recipe_of(method, list(weights), GROUPS)
    live = LiveModel(folder / "base", weights, dtype="float32")
    live.become(recipe)
    write_release(recipe, weights, tmp_path / "stored", {}, config_source=folder / "base")
    write_release(recipe, pool(folder, stored=False), tmp_path / "computed", {}, config_source=folder / "base")
    stored, computed = (load_file(tmp_path / name / "model.safetensors") for name in ("stored", "computed"))
    model = live.model.state_dict()
    assert stored.keys() == computed.keys()
    assert all(torch.equal(weight, computed[name]) for name, weight in stored.items())
    assert all(torch.equal(weight, model[name]) for name, weight in stored.items())


def test_an_adapter_as_the_last_stage_is_added_to_the_merge_with_the_same_bits_live_and_written(
    folder: Path, tmp_path: Path
) -> None:
    weights = pool(folder)
    plain, wide = (source for source in weights if source.adapter)
    merge = recipe_of("linear", [BASE, plain], GROUPS)
    recipe = replace(merge, last_stage=LastStage(wide, -0.5))
    live = LiveModel(folder / "base", weights, dtype="float32")
    for one in (merge, recipe):
        live.become(one)
    write_release(recipe, weights, tmp_path / "staged", {}, config_source=folder / "base")
    written, model = load_file(tmp_path / "staged" / "model.safetensors"), live.model.state_dict()
    assert "mergekit cannot make this merge (it adds no adapter" in (tmp_path / "staged" / RECIPE_NAME).read_text()
    for name, weight in written.items():
        assert torch.equal(weight, model[name])
        change = weights[wide].adapted(name)
        added = change.difference.float() if change and change.difference is not None else 0.0
        torch.testing.assert_close(weight, merge_tensor(merge, name, make_loader(merge, weights)) - 0.5 * added)


def test_a_tensor_that_no_adapter_changes_stays_the_base_s_bit_by_bit(folder: Path) -> None:
    name = "model.layers.0.mlp.gate_proj.weight"
    for method in ("task_arithmetic", "ties", "dare_linear"):
        assert torch.equal(every_tensor(method, pool(folder))[name], pool(folder)[BASE].tensor(name).float())


@pytest.mark.parametrize("rank", [1, 4, 7])
def test_a_thin_product_and_lengths_are_numpy_s_in_any_number_of_threads(rank: int) -> None:
    draw = torch.Generator().manual_seed(rank)
    up, down = torch.randn(37, rank, generator=draw), torch.randn(rank, 5000, generator=draw)
    found = low_rank_product(up, down, 0.37)
    torch.testing.assert_close(found.double(), 0.37 * (up.double() @ down.double()), rtol=1e-4, atol=1e-5)
    for of_columns in (False, True):
        exact = found.double().square().sum(dim=0 if of_columns else 1)
        torch.testing.assert_close(squared_lengths(found, of_columns), exact)
    assert torch.equal(found.T, low_rank_product(down.T, up.T, 0.37))

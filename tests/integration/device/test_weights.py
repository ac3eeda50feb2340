"""Models on a GPU hold the bits of their written releases: sums are done on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fixtures.tiny_models import pool, recipe_of
from merging.methods import METHODS
from merging.models.live import LiveModels
from merging.partition import Partition
from merging.recipes.path import Hop, PathRecipe
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge
from merging.writing.release import write_release

TWO = Partition.even(2, 2, modules_apart=True, ends_apart=True)
WHOLE = Partition.even(2, 1, modules_apart=False, ends_apart=False)
HOPS = (Hop(0, 0, 1.0), Hop(1, 1, 0.8), Hop(1, 1, 1.1), Hop(0, 1, 1.0))


def assert_same_bits(model: torch.nn.Module, folder: Path, device: str) -> None:
    written = load_file(folder / "model.safetensors")
    state = model.state_dict()
    for name, stored in written.items():
        assert state[name].device.type == device and state[name].dtype == stored.dtype
        assert torch.equal(state[name].cpu().view(torch.uint8), stored.view(torch.uint8)), name
    assert {state[name].data_ptr() for name in written} == {weight.data_ptr() for weight in state.values()}  # tied ones


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", METHODS)
def test_the_live_model_holds_the_bits_of_the_written_release(
    method: str, dtype: str, device: str, tmp_path: Path
) -> None:
    checkpoints = pool(tmp_path, "llama", dtype=torch.bfloat16)
    recipe = recipe_of(method, list(checkpoints), TWO, dtype=dtype)
    live = LiveModels(tmp_path / "model-0", checkpoints, dtype=dtype, device=device)
    live.merged(WeightMerge.single(recipe.sources[0], TWO, dtype))  # what it was before must not matter
    write_release(recipe, checkpoints, tmp_path / "release", {})
    assert_same_bits(live.merged(recipe), tmp_path / "release", device)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_path_holds_the_bits_of_its_written_release(kind: str, device: str, tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, kind, sources=2)
    parts = tuple(WeightMerge.single(source, WHOLE, "float32") for source in checkpoints)
    path: Recipe = PathRecipe(parts, HOPS, 0, 0)
    live = LiveModels(tmp_path / "model-0", checkpoints, dtype="float32", device=device)
    write_release(path, checkpoints, tmp_path / "release", {})
    assert_same_bits(path.live_model(live), tmp_path / "release", device)

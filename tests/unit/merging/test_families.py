from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from fixtures.tiny_models import CONFIGS, FAMILIES, pool, recipe_of
from merging.errors import MergingError
from merging.identity import ModelId
from merging.models.building import build_empty_model, read_schema, stored_weights
from merging.models.live import LiveModel
from merging.models.schema import match_tensors
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.writing.release import write_release

pytestmark = pytest.mark.slow

PROMPT = torch.arange(3, 23).reshape(2, 10)
WHOLE = Partition.even(2, 1, False, False)
WEIGHTS = (0.75, 0.5)


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model(PROMPT).logits


def same(one: Tensor, other: Tensor) -> None:
    """Equal but for the last bit or two: torch picks kernels for equal weights by their place in memory."""
    torch.testing.assert_close(one, other, rtol=0, atol=2e-6)


def loaded(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def task_arithmetic(base: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return WEIGHTS[0] * (first - base) + WEIGHTS[1] * (second - base) + base


def task_recipe(origins: list[ModelId], dtype: str = "float32") -> WeightMerge:
    weights = tuple((weight,) for weight in WEIGHTS)
    return WeightMerge("task_arithmetic", tuple(origins[1:]), origins[0], WHOLE, (("weight", weights),), dtype, 0)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_family_is_merged_as_the_formula_says_and_loads_plainly(kind: str, tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, kind)
    recipe = task_recipe(list(checkpoints))
    live = LiveModel(tmp_path / "model-0", checkpoints, dtype="float32")
    live.become(recipe)
    write_release(recipe, checkpoints, tmp_path / "release", {})

    expected, *others = origins = [loaded(checkpoint.folder) for checkpoint in checkpoints.values()]
    states = [origin.state_dict() for origin in origins]  # as transformers reads them, names, fusions and all
    expected.load_state_dict({name: task_arithmetic(*(state[name] for state in states)) for name in states[0]})
    written = loaded(tmp_path / "release")
    for name, weight in expected.state_dict().items():
        assert torch.equal(live.model.state_dict()[name], weight), name
        assert torch.equal(written.state_dict()[name], weight), name
    same(logits(live.model), logits(expected))
    same(logits(written), logits(expected))
    assert not torch.allclose(logits(written), logits(others[0]), atol=1e-3)


@pytest.mark.parametrize("kind", sorted(FAMILIES.keys() - CONFIGS.keys()))
def test_a_family_s_release_in_bfloat16_answers_as_its_live_model_does(kind: str, tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, kind, dtype=torch.bfloat16)
    recipe = recipe_of("ties", list(checkpoints), Partition.even(2, 2, True, True), dtype="bfloat16")
    live = LiveModel(tmp_path / "model-0", checkpoints, dtype="bfloat16")
    live.become(task_recipe(list(checkpoints), "bfloat16"))
    live.become(recipe)
    write_release(recipe, checkpoints, tmp_path / "release", {})
    written = loaded(tmp_path / "release")
    for name, weight in written.state_dict().items():
        assert torch.equal(live.model.state_dict()[name], weight), name
    same(logits(live.model), logits(written))


def slerp(first: Tensor, second: Tensor, t: float) -> Tensor:
    one, other = first.double(), second.double()
    angle = math.acos(float((one * other).sum() / one.norm() / other.norm()))
    return ((math.sin((1 - t) * angle) * one + math.sin(t * angle) * other) / math.sin(angle)).float()


def test_each_expert_of_a_mixture_is_a_tensor_of_its_own(tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "qwen3-moe", sources=2)
    recipe = WeightMerge("slerp", tuple(checkpoints), None, WHOLE, (("t", ((0.25,),)),), "float32", 0)
    live = LiveModel(tmp_path / "model-0", checkpoints, dtype="float32")
    live.become(recipe)
    first, second = (loaded(checkpoint.folder).state_dict() for checkpoint in checkpoints.values())
    fused = live.model.state_dict()["model.layers.1.mlp.experts.gate_up_proj"]
    name = "model.layers.1.mlp.experts.gate_up_proj"
    for expert in range(4):
        for half in (slice(0, 24), slice(24, 48)):
            expected = slerp(first[name][expert, half], second[name][expert, half], 0.25)
            assert torch.allclose(fused[expert, half], expected, atol=1e-6)


def test_a_stored_expert_is_a_part_of_the_model_s_own_memory(tmp_path: Path) -> None:
    pool(tmp_path, "mixtral", sources=1)
    model = build_empty_model(tmp_path / "model-0", "float32", "cpu")
    weights = stored_weights(model)
    with torch.no_grad():
        weights["model.layers.0.block_sparse_moe.experts.2.w3.weight"].fill_(7.0)
    fused = model.model.layers[0].mlp.experts.gate_up_proj
    assert torch.equal(fused[2, 48:], torch.full((48, 32), 7.0))
    assert sum(weight.numel() for weight in weights.values()) == sum(weight.numel() for weight in model.parameters())


def test_an_expert_that_is_missing_is_named(tmp_path: Path) -> None:
    checkpoint, *_ = pool(tmp_path, "mixtral", sources=1).values()
    lost = "model.layers.1.block_sparse_moe.experts.3.w2.weight"
    headers: Mapping[str, Any] = {name: header for name, header in checkpoint.headers.items() if name != lost}
    part = Checkpoint(checkpoint.folder, headers, {})
    with pytest.raises(MergingError, match=rf"the model's {lost} is missing"):
        match_tensors(read_schema(build_empty_model(checkpoint.folder, "float32", "meta")), [part])


def test_a_family_whose_values_transformers_rearranges_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool(tmp_path, "llama", sources=1)
    model = build_empty_model(tmp_path / "model-0", "float32", "meta")
    rearranged = {name: weight.detach().flip(0) for name, weight in model.state_dict().items()}
    monkeypatch.setattr("transformers.core_model_loading.revert_weight_conversion", lambda *_: rearranged)
    with pytest.raises(MergingError, match=r"LlamaForCausalLM: transformers rearranges model\.embed_tokens\.weight"):
        stored_weights(model)

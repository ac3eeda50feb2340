"""Layers that would compute something else at another place are refused; transformers' own modules say which do."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from torch import Tensor, nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from fixtures.tiny_models import _GPT2, _LLAMA_LIKE, FAMILIES, Kinds, tiny_model
from merging.errors import MergingError
from merging.identity import ModelId
from merging.mergekit.reader import parse_merge_config
from merging.models.layer_config import stack_config
from merging.models.schema import ModelSchema
from merging.models.stored_model import read_stored_model
from merging.models.traits import BY_NUMBER, moved_layer_fault, read_traits
from merging.sources.checkpoint import Checkpoint
from merging.writing.assembly import assemble

ORDER = [1, 0, 2, 2, 3]
PROMPT = torch.arange(3, 19).reshape(2, 8)
KINDS: Kinds = {
    **FAMILIES,
    "gpt2, scaled by layer": (transformers.GPT2Config, {**_GPT2, "scale_attn_by_inverse_layer_idx": True}),
    "diffllama": (transformers.DiffLlamaConfig, _LLAMA_LIKE),
    "smollm3, some layers without rotation": (
        transformers.SmolLM3Config,
        {**_LLAMA_LIKE, "no_rope_layers": [1, 0, 1, 0]},
    ),
    "gemma3, every other layer sliding": (
        transformers.Gemma3TextConfig,
        {**_LLAMA_LIKE, "layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 4},
    ),
}
MOVES = ("llama", "gpt2", "smollm3, some layers without rotation", "gemma3, every other layer sliding", "qwen3-moe")
STAYS = {"gpt2, scaled by layer": "attn.scaling", "diffllama": "self_attn.lambda_init"}


def reordered(model: Any, order: Sequence[int]) -> tuple[Tensor, Tensor, set[str | None]]:
    """Logits of a model whose own layer modules are put in this order, logits of the model that a merge would write for
    it, and what the check says of each moved layer."""
    config = model.config.to_dict()
    expected = copy.deepcopy(model)
    stack = expected.get_submodule("transformer.h" if hasattr(expected, "transformer") else "model.layers")
    modules = nn.ModuleList(copy.deepcopy(stack[layer]) for layer in order)
    parent = expected.transformer if hasattr(expected, "transformer") else expected.model
    setattr(parent, "h" if hasattr(expected, "transformer") else "layers", modules)
    new = stack_config(config, [[(config, layer)] for layer in order], "tiny")
    built = transformers.AutoModelForCausalLM.from_config(type(model.config).from_dict(new)).eval()
    built.load_state_dict(expected.state_dict())
    for model_config in (expected.config, expected.base_model.config):  # the mask of each layer is chosen by it
        for key in ("layer_types", "num_hidden_layers"):
            if key in new:
                setattr(model_config, key, new[key])
    before, after = read_traits(model), read_traits(built)
    kind = str(config["model_type"])
    faults = {
        moved_layer_fault(kind, before, taken, after, number, same_settings=True) for number, taken in enumerate(order)
    }
    with torch.no_grad():
        return expected(PROMPT, use_cache=False).logits, built(PROMPT, use_cache=False).logits, faults


@pytest.mark.parametrize("kind", MOVES)
def test_layers_that_compute_the_same_anywhere_may_move(kind: str) -> None:
    expected, found, faults = reordered(tiny_model(kind, seed=1, layers=4, kinds=KINDS), ORDER)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert faults == {None}


@pytest.mark.parametrize("kind", STAYS)
def test_layers_that_would_compute_something_else_are_named_with_the_value_that_changes(kind: str) -> None:
    expected, found, faults = reordered(tiny_model(kind, seed=1, layers=4, kinds=KINDS), ORDER)
    assert (found - expected).abs().max() > 1e-3
    assert faults - {None} and all(f"{STAYS[kind]} is " in str(fault) for fault in faults - {None})


def test_a_merge_that_moves_such_layers_is_refused_by_its_layer_range(tmp_path: Path) -> None:
    tiny_model("gpt2, scaled by layer", seed=1, layers=4, kinds=KINDS).save_pretrained(tmp_path / "a")
    name = ModelId(str(tmp_path / "a"))
    models = {name: read_stored_model(Checkpoint.open(tmp_path / "a"))}

    def plan(*ranges: tuple[int, int]) -> object:
        slices = [{"sources": [{"model": str(name), "layer_range": [*layers]}]} for layers in ranges]
        data = yaml.safe_load(yaml.safe_dump({"merge_method": "passthrough", "slices": slices}))
        return assemble(parse_merge_config(data), models)

    assert plan((0, 2), (2, 4))
    with pytest.raises(MergingError) as caught:
        plan((0, 2), (1, 4))
    assert str(caught.value) == (
        f"slices[1].sources[0].layer_range: got [1, 4]: layer 1 of {name} as layer 2: its transformer.h.1.attn.scaling "
        "is 0.176777 there and would be 0.117851 here; keep layers at their numbers"
    )


def test_families_whose_model_reads_the_numbers_are_declared() -> None:
    assert BY_NUMBER.keys() <= {*CONFIG_MAPPING}
    assert "rescales" in str(moved_layer_fault("rwkv", {}, 1, {}, 0, same_settings=False))
    assert moved_layer_fault("rwkv", {}, 1, {}, 1, same_settings=False) is None


def test_settings_that_differ_between_models_are_no_move() -> None:
    windows = {"model.layers.0.self_attn.sliding_window": {0: 4, 1: 4}}
    wider = {"model.layers.0.self_attn.sliding_window": {0: 8, 1: 8}}
    assert moved_layer_fault("mistral", windows, 0, wider, 1, same_settings=False) is None
    assert "is 4 there and would be 8" in str(moved_layer_fault("mistral", windows, 0, wider, 1, same_settings=True))


def test_traits_are_kept_with_a_schema() -> None:
    schema = ModelSchema("A", "model", {}, frozenset(), {}, frozenset(), None, {"model.layers.0.x": {0: 1.5, 1: True}})
    assert ModelSchema.from_json(json.loads(json.dumps(schema.as_json()))) == schema

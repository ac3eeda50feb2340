"""Weights and cost per token, counted from shapes and compared with what transformers counts in the model itself."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from fixtures.tiny_models import tiny_model
from merging.identity import ModelId
from merging.models.building import build_from_config, stored_weights
from merging.partition import Partition
from merging.paths.cost import ModelCost, model_cost
from merging.paths.layout import path_config
from merging.recipes.path import Hop, path_recipe
from merging.recipes.weight_merge import WeightMerge

LAYERS = 3
DENSE = ("llama", "llama-tied", "gemma2", "gpt2", "bloom", "gpt-neox", "cohere", "phi3")
EXPERTS = ("mixtral", "qwen3-moe", "granite-moe", "phi-moe", "gpt-oss", "olmoe")
HOPS = (Hop(0, 0, 0.8), Hop(1, 1, 1.0), Hop(1, 0, 1.0), Hop(0, 1, 1.0), Hop(0, 2, 1.0))


def the_path() -> Any:
    groups = Partition.even(LAYERS, 1, False, False)
    parts = [WeightMerge.single(ModelId(f"tiny/{name}", "0" * 40), groups, "float32") for name in "ab"]
    return path_recipe(parts, HOPS, 0, 0)


def counted(model: Any, layers: tuple[int, ...]) -> ModelCost:
    """From shapes alone, of some of a model's layers."""
    shapes = {name: tuple(weight.shape) for name, weight in stored_weights(model).items()}
    return model_cost(shapes, model.config.to_dict(), layers)


def path_model(source: Any) -> Any:
    """What transformers builds from the path's config."""
    config = build_from_config(path_config(the_path(), source.config.to_dict()), "path").config
    return AutoModelForCausalLM.from_config(config)


def met_by_a_token(model: Any) -> int:
    """Weights of all modules that are called in a forward pass and do not look up."""
    sizes: list[int] = []

    def note(module: Any, *_: Any) -> None:
        if not isinstance(module, torch.nn.Embedding):
            sizes.append(sum(weight.numel() for weight in module.parameters(recurse=False)))

    for module in model.modules():
        module.register_forward_hook(note)
    with torch.no_grad():
        model(torch.arange(3, 9)[None], use_cache=False)
    return sum(sizes)


@pytest.mark.parametrize("kind", [*DENSE, *EXPERTS])
def test_a_path_has_as_many_weights_as_transformers_counts(kind: str) -> None:
    source = tiny_model(kind, seed=0, layers=LAYERS)
    assert counted(source, tuple(range(LAYERS))).parameters == source.num_parameters()
    assert counted(source, the_path().layers).parameters == path_model(source).num_parameters()


@pytest.mark.parametrize("kind", DENSE)
def test_a_token_passes_through_the_weights_of_the_modules_that_are_called(kind: str) -> None:
    source = tiny_model(kind, seed=0, layers=LAYERS)
    assert counted(source, the_path().layers).per_token == met_by_a_token(path_model(source))


@pytest.mark.parametrize("kind", EXPERTS)
def test_a_token_passes_through_those_experts_alone_that_it_is_sent_to(kind: str) -> None:
    source = tiny_model(kind, seed=0, layers=LAYERS)
    settings = source.config.to_dict()
    total = settings.get("num_local_experts") or settings["num_experts"]
    assert total > settings["num_experts_per_tok"]
    # In every layer, experts are the difference to a model that has one expert fewer.
    fewer = type(source.config)(**{**settings, "num_experts": total - 1, "num_local_experts": total - 1})
    one_expert = source.num_parameters() - AutoModelForCausalLM.from_config(fewer).num_parameters()
    router = LAYERS * (source.config.hidden_size + (kind == "gpt-oss"))  # gpt-oss: and a bias
    idle = (total - settings["num_experts_per_tok"]) * (one_expert - router)
    whole = {**settings, "num_experts_per_tok": total}
    shapes = {name: tuple(weight.shape) for name, weight in stored_weights(source).items()}
    layers = range(LAYERS)
    assert model_cost(shapes, whole, layers).per_token - model_cost(shapes, settings, layers).per_token == idle


def test_a_head_that_is_tied_costs_but_is_counted_once() -> None:
    shapes = {"model.embed_tokens.weight": (50, 32), "model.layers.0.mlp.weight": (32, 32), "lm_head.weight": (50, 32)}
    table, layer = math.prod((50, 32)), math.prod((32, 32))
    assert model_cost(shapes, {"tie_word_embeddings": False}, [0, 0]) == ModelCost(
        2 * table + 2 * layer, table + 2 * layer
    )
    assert model_cost(shapes, {"tie_word_embeddings": True}, [0, 0]) == ModelCost(table + 2 * layer, table + 2 * layer)

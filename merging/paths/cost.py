"""What a model costs that is made of a source's layers: its weights, and those of them that a token passes through."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from merging.partition import parse_name
from merging.recipes.path import PathRecipe, Recipe

_POSITIONS = frozenset({"wpe", "embed_positions", "position_embeddings"})
_EXPERTS = "experts"
_EXPERT_TOTALS = ("num_local_experts", "num_experts", "n_routed_experts")

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """parameters: number of weights, a tied one once.

    per_token: weights that one token passes through: the layers with those experts alone that it is sent to, what
    else is multiplied with it, and the head, tied or not. Rows of embeddings are looked up and cost nothing.
    """

    parameters: int
    per_token: float


def cost(shapes: Mapping[str, Shape], settings: Mapping[str, Any], layers: Iterable[int]) -> Cost:
    """Of the model of these layers of a source, each as often as it is listed, between its embedding and its head.

    shapes: the weights of the source by name; of a tied weight, one or both.
    settings: its config with every default filled in, as transformers' `to_dict` has it.
    """
    tied = bool(settings.get("tie_word_embeddings"))
    table = _token_table(shapes)
    taken = Counter[int | None](layers)
    taken[None] = 1
    parameters, per_token = 0, 0.0
    for name, shape in shapes.items():
        if tied and _is_twin(name, shape, shapes[table]):
            continue
        size = math.prod(shape) * taken[parse_name(name).layer]
        parameters += size
        if name == table:
            per_token += size if tied else 0
        elif not _is_looked_up(name, shape):
            per_token += size * _used_share(name, shape, settings)
    return Cost(parameters, per_token)


def layers_of(recipe: Recipe) -> tuple[int, ...]:
    """The number that each layer of a recipe's model has in a source, in order."""
    if isinstance(recipe, PathRecipe):
        return tuple(hop.layer for hop in recipe.hops)
    return tuple(range(recipe.groups.layers))


def _token_table(shapes: Mapping[str, Shape]) -> str:
    """The name of the input embeddings: of the matrices before the layers, the largest that is none of positions."""
    tables = [name for name, shape in shapes.items() if _is_looked_up(name, shape) and not _is_of_positions(name)]
    return max(tables, key=lambda name: math.prod(shapes[name]))


def _is_looked_up(name: str, shape: Shape) -> bool:
    place = parse_name(name)
    return place.layer is None and len(shape) == 2 and (place.is_embedding or _is_of_positions(name))


def _is_of_positions(name: str) -> bool:
    return not _POSITIONS.isdisjoint(name.split("."))


def _is_twin(name: str, shape: Shape, table: Shape) -> bool:
    """Whether it is the head of a model whose head is its embedding, stored a second time."""
    return shape == table and parse_name(name).layer is None and not _is_looked_up(name, shape)


def _used_share(name: str, shape: Shape, settings: Mapping[str, Any]) -> float:
    """The share of a tensor that one token meets: below 1 where it holds experts to which tokens are sent."""
    total = next((settings[key] for key in _EXPERT_TOTALS if settings.get(key)), None)
    used = settings.get("num_experts_per_tok")
    if not total or not used or parse_name(name).layer is None:
        return 1.0
    # Some families keep all experts in one tensor, under a name that does not tell.
    routed = _EXPERTS in name.split(".") or (len(shape) == 3 and shape[0] == total)
    return float(min(1.0, used / total)) if routed else 1.0

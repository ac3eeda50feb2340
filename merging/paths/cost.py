"""The cost of a model made of a source's layers: its weights, and those of them that a token passes through."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from merging.models.experts import read_experts
from merging.tensor_names import parse_name

_POSITIONS = frozenset({"wpe", "embed_positions", "position_embeddings"})
_EXPERTS = "experts"

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ModelCost:
    """The cost of a model.

    parameters: number of weights; a tied weight counts once.
    per_token: number of weights that one token passes through: the layers with only those experts that it is routed
    to, and the head, tied or not. Embeddings are looked up, not multiplied, and count nothing.
    """

    parameters: int
    per_token: float


def model_cost(shapes: Mapping[str, Shape], settings: Mapping[str, Any], layers: Iterable[int]) -> ModelCost:
    """Count the weights of a model made of these layers of a source, each as often as it is listed.

    shapes: the source's weights by name; a tied weight under one of its names or both.
    settings: the source's config with every default filled in, as transformers' `to_dict` has it.
    """
    tied = bool(settings.get("tie_word_embeddings"))
    table = _token_table(shapes)
    taken = Counter[int | None](layers)
    taken[None] = 1
    parameters, per_token = 0, 0.0
    for name, shape in shapes.items():
        if tied and _is_tied_copy(name, shape, shapes[table]):
            continue
        size = math.prod(shape) * taken[parse_name(name).layer]
        parameters += size
        if name == table:
            per_token += size if tied else 0
        elif not _is_looked_up(name, shape):
            per_token += size * _used_share(name, shape, settings)
    return ModelCost(parameters, per_token)


def _token_table(shapes: Mapping[str, Shape]) -> str:
    """The name of the input embeddings: the largest matrix before the layers that does not embed positions."""
    tables = [name for name, shape in shapes.items() if _is_looked_up(name, shape) and not _is_of_positions(name)]
    return max(tables, key=lambda name: math.prod(shapes[name]))


def _is_looked_up(name: str, shape: Shape) -> bool:
    place = parse_name(name)
    return place.layer is None and len(shape) == 2 and (place.is_embedding or _is_of_positions(name))


def _is_of_positions(name: str) -> bool:
    return not _POSITIONS.isdisjoint(name.split("."))


def _is_tied_copy(name: str, shape: Shape, table: Shape) -> bool:
    """Whether a tensor is a tied head that is stored a second time."""
    return shape == table and parse_name(name).layer is None and not _is_looked_up(name, shape)


def _used_share(name: str, shape: Shape, settings: Mapping[str, Any]) -> float:
    """The share of a tensor that one token passes through: below 1 for experts to which tokens are routed."""
    experts = read_experts(settings)
    if experts is None or parse_name(name).layer is None:
        return 1.0
    # Some families keep all experts in one tensor, under a name without the word.
    routed = _EXPERTS in name.split(".") or (len(shape) == 3 and shape[0] == experts.total)
    return experts.active / experts.total if routed else 1.0

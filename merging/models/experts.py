"""Mixtures of experts: how many experts a config says they have, and the routers that send tokens to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from merging.partition import ROUTER_NAMES
from merging.tensor_names import parse_name

if TYPE_CHECKING:
    from torch import Tensor

    from merging.sources.family import TensorHeader
    from merging.sources.weights import Weights

_TOTALS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
_ACTIVE = ("num_experts_per_tok", "moe_k", "moe_topk", "moe_top_k")
"""Keys of a config.json, family by family. A dense model may have them too, with no expert or one."""

_ALIKE = 0.5
"""Cosine from which two rows of routers are called those of the same expert."""


@dataclass(frozen=True)
class Experts:
    """The routed experts of each layer that has any: all of them, and those that one token is sent to."""

    total: int
    active: int

    def __str__(self) -> str:
        return f"{self.total} experts, {self.active} active"


def read_experts(settings: Mapping[str, Any]) -> Experts | None:
    """The experts of a model; None for a dense one.

    settings: its config with every default filled in, as `read_settings` or transformers' `to_dict` has it.
    """
    total = _first_count(settings, _TOTALS)
    active = _first_count(settings, _ACTIVE)
    return Experts(total, min(active, total)) if total > 1 and active else None


def experts_mismatch(reference: Weights, other: Weights, experts: Experts) -> str | None:
    """The reason why equal numbers mean other experts in two models of the same tensors, in a few words; None if not.

    Merges go by the experts' numbers, which mean the same experts in fine-tunes of one mixture. Experts that were put
    in another order, or that were made of a dense model anew, fit by their shapes and are still nonsense to average.
    Routers show it, at little cost: they have a row per expert, and rows of fine-tunes are most alike at equal numbers.
    In a layer in which that holds for fewer than half of the experts, their numbers mean something else.
    """
    for name, layer in _routers(reference.headers, experts):
        alike = _likeness(reference.tensor(name), other.tensor(name))
        if alike is None:
            continue
        nearest = alike.argmax(dim=1).tolist()
        moved = [expert for expert, there in enumerate(nearest) if expert != there]
        if 2 * len(moved) > experts.total:
            known = next((expert for expert in moved if alike[expert, nearest[expert]] >= _ALIKE), None)
            if known is None:
                return f"its experts are not the same: in layer {layer}, no row of its router is like one there"
            expert = f"its expert {known} is expert {nearest[known]} there"
            return f"its experts are in another order: in layer {layer}, {expert}"
    return None


def _routers(headers: Mapping[str, TensorHeader], experts: Experts) -> Iterator[tuple[str, int]]:
    """The name of the router's matrix and the number of each layer that has experts."""
    for name, header in headers.items():
        layer, parts = parse_name(name).layer, name.split(".")
        by_expert = len(header.shape) == 2 and header.shape[0] == experts.total
        if layer is not None and by_expert and not set(ROUTER_NAMES).isdisjoint(parts) and "experts" not in parts:
            yield name, layer


def _likeness(reference: Tensor, other: Tensor) -> Tensor | None:
    """The cosine of each row of `other` with each of `reference`, [experts, experts]; None where a router has no rows.

    What all rows of a router have in common sends a token nowhere, so it is taken away first.
    """
    import torch

    rows = [router.float() - router.float().mean(dim=0) for router in (other, reference)]
    if any(float(row.norm(dim=1).min()) == 0 for row in rows):
        return None
    mine, theirs = (torch.nn.functional.normalize(row, dim=1) for row in rows)
    return mine @ theirs.T


def _first_count(settings: Mapping[str, Any], keys: tuple[str, ...]) -> int:
    """The first of these settings that is a number above 0; 0 if none is."""
    values = (settings.get(key) for key in keys)
    return next((value for value in values if isinstance(value, int) and value > 0), 0)

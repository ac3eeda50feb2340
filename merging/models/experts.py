"""Mixtures of experts: how many experts a config says they have, and the routers that send tokens to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TOTALS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
_ACTIVE = ("num_experts_per_tok", "moe_k", "moe_topk", "moe_top_k")
"""Keys of a config.json, family by family. A dense model may have them too, with no expert or one."""


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


def _first_count(settings: Mapping[str, Any], keys: tuple[str, ...]) -> int:
    """The first of these settings that is a number above 0; 0 if none is."""
    values = (settings.get(key) for key in keys)
    return next((value for value in values if isinstance(value, int) and value > 0), 0)

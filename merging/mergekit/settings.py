"""A parameter in mergekit's YAML: one value, a gradient over layers, or a list of those with filters on names."""

from __future__ import annotations

from dataclasses import dataclass

from merging.errors import MergingError

Scalar = float | bool

EVERYWHERE = "*"


@dataclass(frozen=True)
class Condition:
    """Values for the tensors whose name contains each of `parts` (none: for all); several values are a gradient."""

    parts: tuple[str, ...]
    values: tuple[Scalar, ...]

    def holds(self, tensor_name: str) -> bool:
        """Whether the values apply to this tensor."""
        return all(part == EVERYWHERE or part in tensor_name for part in self.parts)


Setting = tuple[Condition, ...]
"""Conditions in order: the first one that holds gives the value."""


def find_condition(setting: Setting, tensor_name: str) -> int | None:
    """The index of the first condition that holds for a tensor; None if none does."""
    return next((index for index, condition in enumerate(setting) if condition.holds(tensor_name)), None)


def interpolate(values: tuple[Scalar, ...], position: float) -> Scalar:
    """A gradient's value at a position from 0 to 1: linear between its points, or a step if they are switches.

    position: that of a tensor's layer in its slice, from 0 for the first to 1 for the last.
    """
    if not values:
        raise MergingError("gradient: got no values: write at least one")
    place = position * (len(values) - 1)
    before = int(place)
    if any(isinstance(value, bool) for value in values):
        return values[before]
    after = min(len(values) - 1, before + 1)
    share = place - before
    return (1 - share) * values[before] + share * values[after]

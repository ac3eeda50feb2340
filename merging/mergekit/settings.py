"""A parameter in mergekit's YAML: one value, a gradient over layers, or a list of those with filters on names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from merging.errors import MergingError

Scalar = float | bool

EVERYWHERE = "*"


@dataclass(frozen=True)
class Condition:
    """Values for the tensors whose name contains `part` (None: all of them); several values are a gradient."""

    part: str | None
    values: tuple[Scalar, ...]

    def holds(self, tensor_name: str) -> bool:
        """Whether the values are meant for this tensor."""
        return self.part is None or self.part == EVERYWHERE or self.part in tensor_name


Setting = tuple[Condition, ...]
"""The first condition that holds counts."""


def constant(value: Scalar) -> Setting:
    """One value for every tensor."""
    return (Condition(None, (value,)),)


def setting_at(setting: Setting, tensor_name: str, position: float) -> Scalar | None:
    """A setting's value for one tensor; None where no condition holds.

    position: of the layer in its slice, from 0 for the first to 1 for the last.
    """
    found = next((condition for condition in setting if condition.holds(tensor_name)), None)
    return None if found is None else interpolated(found.values, position)


def interpolated(values: tuple[Scalar, ...], position: float) -> Scalar:
    """A gradient's value at a position from 0 to 1: linear between its points, or a step where they are no numbers."""
    if not values:
        raise MergingError("gradient: got no values: write at least one")
    place = position * (len(values) - 1)
    before = int(place)
    if any(isinstance(value, bool) for value in values):
        return values[before]
    after = min(len(values) - 1, before + 1)
    share = place - before
    return (1 - share) * values[before] + share * values[after]


def first_value(settings: Iterable[Setting | None], tensor_name: str, position: float) -> Scalar | None:
    """The value that counts, from the closest setting to the farthest; None where none of them speaks of the tensor."""
    for setting in settings:
        if setting is not None and (value := setting_at(setting, tensor_name, position)) is not None:
            return value
    return None

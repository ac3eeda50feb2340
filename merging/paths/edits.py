"""Small changes of a path, each of one step, with which a search looks around good paths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Step = tuple[int, int]
"""The index of a part, and the number of a layer in it."""

Stop = tuple[Step, float]
"""A step, with the index of its scale on the grid."""


def remove_step(stops: Sequence[Stop], random: np.random.Generator) -> list[Stop]:
    """Remove one step at random."""
    place = int(random.integers(len(stops)))
    return [*stops[:place], *stops[place + 1 :]]


def insert_step(stops: Sequence[Stop], parts: int, depth: int, scale: float, random: np.random.Generator) -> list[Stop]:
    """Insert one step at random, of any part, with a given scale.

    Its layer is between those of its neighbours or next to them, because one from far away hardly ever fits. Leaps
    backwards grow by one at a time, so that every path can be reached.
    """
    place = int(random.integers(len(stops) + 1))
    before = stops[place - 1][0][1] if place else 0
    after = stops[place][0][1] if place < len(stops) else depth - 1
    low, high = max(min(before, after) - 1, 0), min(max(before, after) + 1, depth - 1)
    step = int(random.integers(parts)), int(random.integers(low, high + 1))
    return [*stops[:place], (step, scale), *stops[place:]]


def switch_part(stops: Sequence[Stop], parts: int, random: np.random.Generator) -> list[Stop]:
    """Replace one step at random by the same layer of another part; the scale stays."""
    place = int(random.integers(len(stops)))
    (part, layer), scale = stops[place]
    other = (part + int(random.integers(1, parts))) % parts
    return [*stops[:place], ((other, layer), scale), *stops[place + 1 :]]

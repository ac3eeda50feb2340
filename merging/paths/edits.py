"""Small changes of a path, each of one step: what a search tries next to a path that is good."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Step = tuple[int, int]
"""The index of a part, and the number of a layer in it."""

Stop = tuple[Step, float]
"""A step, with the index of its scale on the grid."""


def remove_step(way: Sequence[Stop], random: np.random.Generator) -> list[Stop]:
    """Remove one step at random."""
    place = int(random.integers(len(way)))
    return [*way[:place], *way[place + 1 :]]


def insert_step(way: Sequence[Stop], parts: int, depth: int, scale: float, random: np.random.Generator) -> list[Stop]:
    """Insert one step at random, of any part, with a given scale.

    Its layer is between those of its neighbours or next to them, because one from far away hardly ever fits. Leaps
    backwards grow by one at a time, so that every path can be reached.
    """
    place = int(random.integers(len(way) + 1))
    before = way[place - 1][0][1] if place else 0
    after = way[place][0][1] if place < len(way) else depth - 1
    low, high = max(min(before, after) - 1, 0), min(max(before, after) + 1, depth - 1)
    step = int(random.integers(parts)), int(random.integers(low, high + 1))
    return [*way[:place], (step, scale), *way[place:]]


def switch_part(way: Sequence[Stop], parts: int, random: np.random.Generator) -> list[Stop]:
    """Replace one step at random by the same layer of another part; the scale stays."""
    place = int(random.integers(len(way)))
    (part, layer), scale = way[place]
    other = (part + int(random.integers(1, parts))) % parts
    return [*way[:place], ((other, layer), scale), *way[place + 1 :]]

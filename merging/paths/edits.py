"""Small changes of a path, each of them one step: what a search tries next beside a path that is good."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Step = tuple[int, int]
"""A part, and the number of a layer in it."""

Stop = tuple[Step, float]
"""A step, and the index of its scale on the grid."""


def shorter(way: Sequence[Stop], random: np.random.Generator) -> list[Stop]:
    """Without one of its steps."""
    place = int(random.integers(len(way)))
    return [*way[:place], *way[place + 1 :]]


def longer(way: Sequence[Stop], parts: int, depth: int, scale: float, random: np.random.Generator) -> list[Stop]:
    """With one step more, of any part, and with a given scale.

    Its layer is from between its neighbours' or next to these: one from far away hardly ever fits. Leaps backwards
    grow by one at a time, so that every path can be reached.
    """
    place = int(random.integers(len(way) + 1))
    before = way[place - 1][0][1] if place else 0
    behind = way[place][0][1] if place < len(way) else depth - 1
    low, high = max(min(before, behind) - 1, 0), min(max(before, behind) + 1, depth - 1)
    step = int(random.integers(parts)), int(random.integers(low, high + 1))
    return [*way[:place], (step, scale), *way[place:]]


def switched(way: Sequence[Stop], parts: int, random: np.random.Generator) -> list[Stop]:
    """With the same layer of another part in place of one step; the scale stays."""
    place = int(random.integers(len(way)))
    (part, layer), scale = way[place]
    other = (part + int(random.integers(1, parts))) % parts
    return [*way[:place], ((other, layer), scale), *way[place + 1 :]]

"""The choice of a batch by the expected improvement of a front's hypervolume."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

POINTS = 1000
"""Points of the space of scores by which volumes are measured."""

TRIALS, MOST_TRIALS = 20_000, 5
"""Points that are drawn for them at a time, and how often: most are dominated already, or out of reach."""


def choose_batch(
    draws: Array, chances: Array, front: Array, reference: Array, count: int, random: np.random.Generator
) -> list[int]:
    """Choose up to `count` candidates that together improve a front's hypervolume most, one after the other.

    draws: joint draws of the candidates' scores (candidates × draws × objectives). chances: of each candidate to have
    scores at all. front: (points × objectives). reference: the point above which hypervolume counts.

    Each choice has the largest expected improvement given those before it; such a batch is within 1 - 1/e of the best
    one (Wilson, Hutter & Deisenroth 2018, "Maximizing acquisition functions for Bayesian optimization"). The volumes
    are counts of random points, the same for all candidates, so rounding errors of the draws seldom change a gain. Of
    equal gains the first candidate's counts. Candidates without a gain are not chosen.
    """
    points = reachable_points(draws, front, reference, random)
    reached = dominates(draws, points).reshape(len(draws), -1).astype(np.float32)
    reached *= chances.astype(np.float32)[:, None]
    open_ = np.ones(reached.shape[1], dtype=np.float32)
    chosen: list[int] = []
    for _ in range(min(count, len(draws))):
        gains = (reached @ open_).astype(float).round(2)
        gains[chosen] = 0.0
        best = int(np.argmax(gains))
        if gains[best] <= 0:
            break
        chosen.append(best)
        open_ *= 1 - reached[best]
    return chosen


def reachable_points(draws: Array, front: Array, reference: Array, random: np.random.Generator) -> Array:
    """Points evenly distributed over the scores that some draw dominates and no point of the front does.

    They are fewer than `POINTS`, or none, where that is a very small part of the box between reference and best scores.
    """
    tops = np.unique(draws.max(axis=1), axis=0)
    extent = np.maximum(tops.max(axis=0) - reference, 0)
    found: list[Array] = []
    for _ in range(MOST_TRIALS):
        points = reference + random.random((TRIALS, len(reference))) * extent
        for point in front:
            points = points[~(points <= point).all(axis=1)]
        for part in np.array_split(points, max(1, len(points) // 500)):
            # A candidate's best draw in each objective is a bound, and much faster than all of its draws.
            reached = np.all(part[:, None] <= tops, axis=-1)
            found.append(part[np.any(reached, axis=1)])
            if sum(map(len, found)) >= POINTS:
                return np.concatenate(found)[:POINTS]
    return np.concatenate(found)


def dominates(draws: Array, points: Array) -> NDArray[np.bool_]:
    """Which points are at most as good as each draw in every objective: (candidates × draws × points)."""
    found = np.ones((*draws.shape[:2], len(points)), dtype=bool)
    for scores, column in zip(np.moveaxis(draws, -1, 0), points.T, strict=True):
        found &= scores[..., None].astype(np.float32) >= column.astype(np.float32)
    return found

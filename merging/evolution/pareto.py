"""Fronts of score vectors: which points are on one, how much it covers, and which few points represent it.

A point is one candidate's scores; higher is better in each objective.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from merging.errors import MergingError

Points = Sequence[Sequence[float]]


def nondominated(points: Points) -> tuple[int, ...]:
    """Indices, ascending, of the points that no other point dominates.

    A point dominates another if it is at least as good in every objective and better in one. Equal points do
    not dominate each other, so all copies of a best point are included.
    """
    matrix = _as_matrix(points)
    return tuple(
        index
        for index, point in enumerate(matrix)
        if not np.any(np.all(matrix >= point, axis=1) & np.any(matrix > point, axis=1))
    )


def hypervolume(points: Points, reference: Sequence[float]) -> float:
    """Volume that the points dominate above a reference point, in the product of the objectives' units.

    A point that is not above the reference in every objective adds nothing.
    Zitzler and Thiele, "Multiobjective evolutionary algorithms: a comparative case study", 1999.
    """
    # Imported here, because choosing from a front needs no pymoo.
    from pymoo.indicators.hv import HV

    corner = np.asarray(reference, dtype=float)
    matrix = _as_matrix(points)
    if matrix.size and matrix.shape[1] != len(corner):
        raise MergingError(f"reference: got {len(corner)} values: give one for each of {matrix.shape[1]} scores")
    above = matrix[np.all(matrix > corner, axis=1)] if matrix.size else matrix
    # pymoo minimises.
    return float(HV(ref_point=-corner)(-above)) if len(above) else 0.0


def spread_order(points: Points) -> tuple[int, ...]:
    """The indices of a front's points in an order of which every beginning is spread over the front.

    It is the reverse of the order in which points are dropped, always the one with the smallest crowding distance among
    those left (the first of equals): Kukkonen and Deb, "Improved pruning of non-dominated solutions based on crowding
    distance for bi-objective optimization problems", 2006.
    """
    matrix = _as_matrix(points)
    left, dropped = list(range(len(matrix))), []
    while left:
        distances = _crowding_distances(matrix[left])
        # Rounded, or the last bit of a sum would decide between points that are equally crowded.
        dropped.append(left.pop(int(np.argmin(distances.round(9)))))
    return tuple(reversed(dropped))


def _crowding_distances(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each point's distance between its neighbours, as shares of the front's extent, summed over the objectives.

    Infinite for the ends of every objective (Deb et al. 2002, NSGA-II).
    """
    distances = np.zeros(len(points))
    for column in points.T:
        order, extent = np.argsort(column, kind="stable"), np.ptp(column) or 1.0
        distances[order[[0, -1]]] = np.inf
        distances[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / extent
    return distances


def extremes_and_knee(points: Points, limit: int) -> tuple[int, ...]:
    """At most `limit` indices that represent a front: its knee, then the best point in each objective.

    The knee is the point farthest above the hyperplane through the ends of the front. With each of the d
    objectives scaled to z in [0, 1] over the front, that plane is sum(z) = 1 and the distance from it
    (sum(z) - 1) / sqrt(d), so the knee has the largest sum(z). Where no point is above the plane, the knee
    is one of the ends. Das, "On characterizing the 'knee' of the Pareto curve based on normal-boundary
    intersection", 1999.

    The knee comes first, so that a limit of one gives the best compromise. Ties go to the larger sum(z), then
    to the larger min(z), then to the lower index. An index is given once, though it may be the best in several.
    """
    if not points or limit < 1:
        return ()
    matrix = _as_matrix(points)
    span = np.ptp(matrix, axis=0)
    scaled = (matrix - matrix.min(axis=0)) / np.where(span > 0, span, 1.0)
    # Rounded, or the last bit of a sum would decide between points that are equally good.
    total, least = scaled.sum(axis=1).round(9), scaled.min(axis=1).round(9)
    first_keys = (total, *matrix.T)
    # lexsort orders by its last key first, and keeps the lower index first among equals.
    chosen = [int(np.lexsort((-least, -total, -key))[0]) for key in first_keys]
    return tuple(dict.fromkeys(chosen))[:limit]


def _as_matrix(points: Points) -> NDArray[np.float64]:
    """Points as an array of shape (points, objectives); a value that is not finite raises MergingError."""
    matrix = np.asarray(points, dtype=float)
    if matrix.size and matrix.ndim != 2:
        raise MergingError(f"points: got shape {matrix.shape}: give one row of scores for each point")
    if not np.isfinite(matrix).all():
        raise MergingError("points: got a score that is not finite: leave failed candidates out")
    return matrix

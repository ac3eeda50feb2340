"""The Karcher mean of models: the point of the sphere nearest to all their directions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from merging.specs.method import NOT_NEGATIVE, POSITIVE, Customary, Method, Parameter
from merging.specs.search import ByChoice

if TYPE_CHECKING:
    from torch import Tensor

    from merging.kernels.inputs import Inputs
    from merging.kernels.products import Matrix, Vector


def karcher(inputs: Inputs) -> Tensor:
    """The Karcher mean of the directions xᵢ / |xᵢ|, equally weighted, with the mean length (Karcher 1977).

    The point c of the sphere from which Σ log_c(uᵢ) vanishes, by at most `max_iter` steps
    c ← exp_c(Σ αᵢ θᵢ / sin θᵢ (uᵢ - cos θᵢ c)), fewer if one is shorter than `tol`.
    """
    import numpy as np

    from merging.kernels.products import gram
    from merging.kernels.sums import weighted_sum

    sources = tuple(range(len(inputs.draw.sources)))
    if len(sources) == 1:
        return weighted_sum(inputs, {0: 1.0})
    products, tol = gram(inputs, sources), inputs.shared("tol")
    lengths = np.sqrt(np.diag(products))
    valid = [source for source in sources if lengths[source] > tol]
    if not valid:
        return weighted_sum(inputs, dict.fromkeys(sources, 0.0))
    cosines = products[np.ix_(valid, valid)] / np.outer(lengths[valid], lengths[valid])
    mean = _karcher_mean(cosines, int(inputs.shared("max_iter")), tol)
    factors = mean / lengths[valid] * lengths.mean()
    return weighted_sum(inputs, dict(zip(valid, map(float, factors), strict=True)))


def _karcher_mean(cosines: Matrix, max_iter: int, tol: float) -> Vector:
    """The mean's coordinates in unit vectors with these cosines between them."""
    import numpy as np

    def length(vector: Vector) -> float:
        return math.sqrt(max(0.0, float(vector @ cosines @ vector)))

    share = 1 / len(cosines)
    mean = np.full(len(cosines), share)
    mean = np.eye(len(cosines))[0] if length(mean) < tol else mean / length(mean)
    for _ in range(max_iter):
        dots = np.clip(cosines @ mean, -1, 1)
        angles = np.arccos(dots)
        far = angles >= tol
        pulls = np.where(far, share * angles / np.where(far, np.sin(angles), 1.0), 0.0)
        tangent = pulls - (pulls @ dots) * mean
        step = length(tangent)
        if step < tol:
            break
        mean = math.cos(step) * mean + math.sin(step) * tangent / step
        mean = mean / length(mean)
    return mean


METHODS = (
    Method(
        name="karcher",
        sentence="the average of the sources' directions on the sphere, at their average length (Karcher mean)",
        formula=karcher,
        parameters={
            "max_iter": Parameter(10.0, "count", allowed=NOT_NEGATIVE),
            "tol": Parameter(1e-5, allowed=POSITIVE),
        },
        base="ignored",
        search=ByChoice(),
        customary=Customary("karcher, all sources"),
    ),
)

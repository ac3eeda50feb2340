"""Methods that add sources' differences from a base, thinned out and weighted, back to the base.

b + λ · combine(wᵢ · thinᵢ(xᵢ - b)), combine a sum or TIES' election; where `normalize` is on it is divided by the
sum of the weights that took part, element by element in an election.
"""

from __future__ import annotations

import math

from torch import Tensor

from merging.methods.inputs import Inputs
from merging.methods.sparsify import Thinner, dropped, dropped_by_rank, inliers, keep_all, largest, segment_of
from merging.methods.sums import Rule, blend

_NO_SUM = 1e-8


def task_arithmetic(inputs: Inputs) -> Tensor:
    """b + λ Σ wᵢ (xᵢ - b) (Ilharco et al. 2023)."""
    return _merge(inputs, keep_all, elect=False)


def ties(inputs: Inputs) -> Tensor:
    """Differences trimmed to their largest, then only what agrees with the elected sign (Yadav et al. 2023).

    A part dᵢ of each difference is kept. The sign of an element is that of the weighted sum, positive where that
    is 0. mergekit leaves the order of equal magnitudes open; here the first are kept.
    """
    return _merge(inputs, largest, elect=True)


def dare_linear(inputs: Inputs) -> Tensor:
    """Task arithmetic on differences of which a random part dᵢ survives, scaled by 1/dᵢ (Yu et al. 2024)."""
    return _merge(inputs, dropped, elect=False)


def dare_ties(inputs: Inputs) -> Tensor:
    """TIES' election on differences thinned out as DARE does."""
    return _merge(inputs, dropped, elect=True)


def della(inputs: Inputs) -> Tensor:
    """TIES' election on differences thinned out at random, the larger an element the less likely (Deep et al. 2024)."""
    return _merge(inputs, dropped_by_rank, elect=True)


def della_linear(inputs: Inputs) -> Tensor:
    """Task arithmetic on differences thinned out as DELLA does."""
    return _merge(inputs, dropped_by_rank, elect=False)


def breadcrumbs(inputs: Inputs) -> Tensor:
    """Task arithmetic on differences without their smallest and their very largest (Davari & Belilovsky 2024)."""
    return _merge(inputs, inliers, elect=False)


def breadcrumbs_ties(inputs: Inputs) -> Tensor:
    """TIES' election on differences thinned out as Breadcrumbs does."""
    return _merge(inputs, inliers, elect=True)


def _merge(inputs: Inputs, thinner: Thinner, *, elect: bool) -> Tensor:
    weights = {source: weight for source, weight in enumerate(inputs.values["weight"]) if weight}
    base = inputs.base_tensor()
    if not weights:
        return blend(inputs, {}, base)
    normalize = bool(inputs.shared("normalize"))
    divisor = _divisor(list(weights.values())) if normalize and not elect else 1.0
    rule = Rule(elect, elect and normalize, divisor, inputs.shared("lambda"))
    thinnings = [thinner(inputs, source) for source in weights]
    return blend(inputs, weights, base, thinnings, rule, segment=segment_of(thinner, base.shape))


def _divisor(weights: list[float]) -> float:
    whole = math.fsum(weights)
    return 1.0 if abs(whole) < _NO_SUM else whole

"""Methods that add sources' differences from a base, thinned out and weighted, back to the base.

b + λ · combine(wᵢ · thinᵢ(xᵢ - b)), combine a sum or TIES' election; where `normalize` is on it is divided by the
sum of the weights that took part, element by element in an election.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from merging.methods.averages import add_up
from merging.methods.inputs import Inputs
from merging.methods.segments import by_segment
from merging.methods.sparsify import Thinner, dropped, dropped_by_rank, inliers, keep_all, largest, segment_of

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
    thins = [thinner(inputs, source) for source in weights]
    scale, normalize = inputs.shared("lambda"), bool(inputs.shared("normalize"))
    base = inputs.base_tensor()

    def merge(parts: list[Tensor], spare: list[Tensor], start: int) -> Tensor:
        differences, here = parts[:-1], parts[-1]
        if not differences:
            return here
        for difference, thin, weight in zip(differences, thins, weights.values(), strict=True):
            thin(difference.sub_(here), start)
            if weight != 1:
                difference.mul_(weight)
        if elect:
            merged = elected(differences, list(weights.values()), spare, normalize=normalize)
        else:
            merged = add_up(differences)
            if normalize:
                merged.div_(_divisor(list(weights.values())))
        if scale != 1:
            merged.mul_(scale)
        return merged.add_(here)

    origins = [*(inputs.load(source) for source in weights), base]
    return by_segment(inputs, origins, merge, spare=3 if elect else 0, segment=segment_of(thinner, base.shape))


def elected(differences: list[Tensor], weights: list[float], spare: list[Tensor], *, normalize: bool) -> Tensor:
    """The sum of what has the sign of the sum of all, element by element; a sum of zero counts as positive.

    differences: weighted ones; they are overwritten. normalize: divide by the weights that took part.
    spare: three buffers.
    """
    sign, divisor, part = spare
    add_up([sign.copy_(differences[0]), *differences[1:]])
    torch.copysign(torch.ones(()), sign.add_(0.0), out=sign)  # adding 0 makes -0 positive
    for number, (difference, weight) in enumerate(zip(differences, weights, strict=True)):
        difference.mul_(sign).relu_()
        if normalize and number:
            divisor.add_(torch.sign(difference, out=part).mul_(weight))
        elif normalize:
            torch.sign(difference, out=divisor).mul_(weight)
    merged = add_up(differences).mul_(sign)
    if normalize:
        merged.div_(divisor.add_(torch.eq(divisor, 0, out=part)))  # adding the truth values themselves is slow
    return merged


def _divisor(weights: list[float]) -> float:
    whole = math.fsum(weights)
    return 1.0 if abs(whole) < _NO_SUM else whole

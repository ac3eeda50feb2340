"""Methods that add models up."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from merging.methods.inputs import Inputs
from merging.methods.products import Matrix, gram, row_gram
from merging.methods.segments import SEGMENT, by_segment, rows_of, width_of
from merging.methods.sums import weighted_sum

_TINY = 1e-6  # products of lengths, and denominators, nearer to zero than this say nothing


def linear(inputs: Inputs) -> Tensor:
    """Σ wᵢ xᵢ / Σ wᵢ, or the sum alone where `normalize` is off (Wortsman et al. 2022, model soups).

    A single source with a weight comes back bit for bit where weights are normalised.
    """
    weights = inputs.values["weight"]
    whole = math.fsum(weights) if inputs.shared("normalize") else 1.0
    shares = {source: weight / whole for source, weight in enumerate(weights) if weight}
    if not shares:
        return torch.zeros_like(inputs.load(0), dtype=inputs.dtype)
    return weighted_sum(inputs, shares)


def passthrough(inputs: Inputs) -> Tensor:
    """s x, the single source's tensor times `scale`, for layers stacked from several models (mergekit)."""
    (scale,) = inputs.values["scale"]
    return weighted_sum(inputs, {0: scale})


def model_stock(inputs: Inputs) -> Tensor:
    """t x̄ + (1 - t) b, x̄ the mean of the N sources and t = N cos θ / (1 + (N - 1) cos θ) (Jang et al. 2024).

    cos θ is the mean cosine between the sources' differences from the base b: of whole tensors, or of each vector
    along the last dimension (`filter_wise`). Where t has no finite value the base stays.
    """
    sources = tuple(range(len(inputs.draw.sources)))
    tensors = [inputs.load(source) for source in sources]
    count, width = len(sources), width_of(tensors[0])
    by_row = bool(inputs.shared("filter_wise"))
    cosine = _mean_cosine(row_gram(inputs, sources) if by_row else gram(inputs, sources))
    denominator = 1 + (count - 1) * cosine
    singular = np.abs(denominator) < _TINY
    t = np.where(singular, 0.0, count * cosine / np.where(singular, 1.0, denominator))
    shares = torch.from_numpy(np.atleast_1d(t)).unsqueeze(1)
    of_mean, of_base = (shares / count).float(), (1 - shares).float()

    def merge(parts: list[Tensor], _: list[Tensor], start: int) -> Tensor:
        rows = slice(start // width, None) if by_row else slice(None)
        shape = (-1, width) if by_row else (1, -1)
        mixed = add_up(parts[1:]).view(shape)
        here = slice(rows.start, rows.start + len(mixed)) if by_row else rows
        mixed.mul_(of_mean[here]).add_(parts[0].view(shape).mul_(of_base[here]))
        return mixed.view(-1)

    segment = rows_of(width) if by_row else SEGMENT
    return by_segment(inputs, [inputs.base_tensor(), *tensors], merge, segment=segment)


def add_up(terms: list[Tensor]) -> Tensor:
    """The terms added up from left to right, in the first one's memory."""
    for term in terms[1:]:
        terms[0].add_(term)
    return terms[0]


def _mean_cosine(products: Matrix) -> Matrix:
    pairs = list(combinations(range(len(products)), 2))
    lengths = np.sqrt([products[source, source] for source in range(len(products))])
    cosines = [
        np.clip(products[one, other] / np.maximum(lengths[one] * lengths[other], _TINY), -1, 1) for one, other in pairs
    ]
    mean: Matrix = np.mean(cosines, axis=0)
    return mean

"""Weighted sums of sources, or of their thinned differences from a base, rounded once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from merging.kernels import arguments, loops
from merging.kernels.arguments import pointers_to
from merging.kernels.inputs import Inputs
from merging.kernels.segments import not_finite_error
from merging.kernels.thresholds import EVERYTHING, NOTHING, Threshold

_LONG = 1 << 20  # elements between two checks that the result is finite

Factors = Callable[[NDArray[np.float32], int], None]
"""Writes a factor for each element of a segment, given the segment's start."""


@dataclass(frozen=True)
class Thinning:
    """The thinning of one source's differences from the base: those that `lower` keeps and `upper` does not are left.

    factors: multiply each element; None: by 1. scale: multiplies all of them as well.
    """

    lower: Threshold = EVERYTHING
    upper: Threshold = NOTHING
    factors: Factors | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Combination:
    """The combination of weighted differences: their sum, or TIES' election; then scale · sum / divisor.

    by_weight: whether an elected sum is divided by the sum of the weights that took part, element by element.
    """

    elect: bool = False
    by_weight: bool = False
    divisor: float = 1.0
    scale: float = 1.0


def weighted_sum(inputs: Inputs, factors: Mapping[int, float], *, of_differences: bool = False) -> Tensor:
    """Σ fᵢ xᵢ over source's index → factor; of_differences: b + Σ fᵢ (xᵢ - b), b the base."""
    return blend(inputs, factors, inputs.base_tensor() if of_differences else None)


def blend(
    inputs: Inputs,
    weights: Mapping[int, float],
    base: Tensor | None,
    thinnings: Sequence[Thinning] = (),
    rule: Combination = Combination(),
    *,
    segment: int = _LONG,
) -> Tensor:
    """b + Σ wᵢ thinᵢ(xᵢ - b) by source's index → weight; without a base Σ wᵢ xᵢ.

    thinnings: one for each weight, or none at all. segment: elements that factors are asked for at once.
    MergingError if the result is not finite.
    """
    terms = _gather(inputs, weights) if base is None else _relate(inputs, weights, thinnings)
    sources, bases = [term.tensor for term in terms], [] if base is None else [base]
    thinnings = [term.thinning for term in terms] if thinnings else ()
    merged = torch.empty((*bases, *sources)[0].shape, dtype=inputs.dtype) if inputs.into is None else inputs.into
    drawn = any(thin.factors for thin in thinnings)
    length = min(segment if drawn else _LONG, max(1, merged.numel()))
    factors = np.empty((len(sources) if drawn else 0, length), np.float32)
    arrays = _arrays(terms, thinnings, factors)
    settled = arguments.Rule(rule.elect, rule.by_weight, np.float32(rule.divisor), np.float32(rule.scale))
    flat, flat_bases = [[tensor.reshape(-1) for tensor in tensors] for tensors in (sources, bases)]
    origins = pointers_to(flat), pointers_to(flat_bases)
    for start in range(0, merged.numel(), length):
        part = merged.view(-1)[start : start + length]
        for row, thin in zip(factors, thinnings, strict=False):
            _fill(row[: len(part)], thin, start)
        if not loops.merge(*origins, arrays, settled, pointers_to([part]), start, start + len(part)):
            raise not_finite_error(inputs)
    return merged


def add_up(terms: list[Tensor]) -> Tensor:
    """The terms added up from left to right, in the first one's memory."""
    for term in terms[1:]:
        terms[0].add_(term)
    return terms[0]


@dataclass(frozen=True)
class _Term:
    """One tensor of a sum. is_difference: whether it is a difference from the base, which is not subtracted from it."""

    tensor: Tensor
    weight: float
    is_difference: bool = False
    thinning: Thinning = Thinning()


def _gather(inputs: Inputs, weights: Mapping[int, float]) -> list[_Term]:
    """The terms of a sum without a base; what several adapters start from, perhaps a source itself, is one of them."""
    changes = {source: inputs.load_adapted(source) for source in weights}
    starts = {inputs.starts[source] for source, change in changes.items() if change}
    found: dict[str | int, tuple[Tensor, list[float]]] = {}
    for source, weight in weights.items():
        name, change = inputs.draw.sources[source], changes[source]
        if change is None:
            found.setdefault(name if name in starts else source, (inputs.load(source), []))[1].append(weight)
            continue
        found.setdefault(inputs.starts[source], (change.start, []))[1].append(weight)
        if change.difference is not None:
            found[source] = (change.difference, [weight])
    return [_Term(tensor, math.fsum(every)) for tensor, every in found.values()]


def _relate(inputs: Inputs, weights: Mapping[int, float], thinnings: Sequence[Thinning]) -> list[_Term]:
    """The terms of a sum of differences, without the sources that equal the base."""
    found = []
    for place, (source, weight) in enumerate(weights.items()):
        if not inputs.equals_base(source):
            difference = inputs.difference(source)
            tensor = inputs.load(source) if difference is None else difference
            thinning = thinnings[place] if thinnings else Thinning()
            found.append(_Term(tensor, weight, difference is not None, thinning))
    return found


def _arrays(terms: Sequence[_Term], thinnings: Sequence[Thinning], factors: NDArray[np.float32]) -> arguments.Terms:
    trimmed = any((thin.lower, thin.upper) != (EVERYTHING, NOTHING) for thin in thinnings)
    bounds = thinnings if trimmed else ()
    return arguments.Terms(
        np.array([term.is_difference for term in terms], np.bool_),
        _trims([thin.lower for thin in bounds]),
        _trims([thin.upper for thin in bounds]),
        factors,
        np.array([thin.scale for thin in thinnings] or [1.0] * len(terms), np.float32),
        np.array([term.weight for term in terms], np.float32),
    )


def _trims(thresholds: Sequence[Threshold]) -> arguments.Trims:
    return arguments.Trims(
        np.array([threshold.value for threshold in thresholds], np.float32),
        np.array([threshold.last for threshold in thresholds], np.int64),
    )


def _fill(row: NDArray[np.float32], thin: Thinning, start: int) -> None:
    if thin.factors is None:
        row.fill(1)
    else:
        thin.factors(row, start)

"""Which elements of a tensor are the largest: exactly, without sorting it.

A sample of the elements brackets the threshold. One pass over the tensor then counts what lies above the bracket and
collects the little that lies inside, where the threshold is picked. A bracket that missed is widened, so the sample
decides how fast the answer is found, never which it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from merging.methods.segments import SEGMENT, segments

_SAMPLE = 1 << 15  # elements
_GOLDEN = 0.6180339887498949  # its multiples spread evenly over 0..1, whatever the tensor's shape

Sizes = NDArray[np.float32]
Measure = Callable[[list[Tensor]], Tensor]
"""Float32 parts of some tensors → the sizes of their elements, none below zero; it may write to the parts."""


@dataclass(frozen=True)
class Threshold:
    """The largest elements: those above `value`, and those equal to it whose flat index is at most `last`."""

    value: float
    last: int

    def keep(self, differences: Tensor, start: int) -> None:
        """Set what is smaller to zero, in a flat float32 segment that starts at `start`.

        torch's hardshrink keeps what lies above a bound: just below the value it keeps what is equal, too.
        """
        end = start + len(differences)
        if self.last < start or self.last >= end - 1:
            bound = self.value if self.last < start else below(self.value)
            if bound >= 0:
                torch.hardshrink(differences, bound, out=differences)
            return
        equal_until = self.last + 1 - start
        self.keep(differences[:equal_until], start)
        self.keep(differences[equal_until:], self.last + 1)


@dataclass
class _Bracket:
    """low ≤ threshold ≤ high is likely; per segment, how many are above, and the values between."""

    low: float
    high: float
    above: list[int] = field(default_factory=list)
    from_high: list[int] = field(default_factory=list)
    from_low: list[int] = field(default_factory=list)
    between: list[Sizes] = field(default_factory=list)

    def note(self, sizes: Sizes) -> None:
        from_high = sizes >= self.high
        self.above.append(int(np.count_nonzero(sizes > self.high)))
        self.from_high.append(int(np.count_nonzero(from_high)))
        self.from_low.append(int(np.count_nonzero(sizes >= self.low)))
        self.between.append(sizes[np.greater(sizes > self.low, from_high)])

    def threshold(self, kept: int) -> tuple[float, int, list[int]] | None:
        """The value of the kept-th largest, how many equal ones to keep, and how many each segment has.

        None if the bracket does not hold it.
        """
        above, from_high, from_low = sum(self.above), sum(self.from_high), sum(self.from_low)
        between = np.concatenate(self.between)
        if kept <= above or kept > from_low:
            return None
        if kept <= from_high:
            return self.high, kept - above, [a - b for a, b in zip(self.from_high, self.above, strict=True)]
        if kept <= from_high + len(between):
            place = len(between) - (kept - from_high)
            value = float(np.partition(between, place)[place])
            equal = [int(np.count_nonzero(sizes == value)) for sizes in self.between]
            return value, kept - from_high - int(np.count_nonzero(between > value)), equal
        counts = zip(self.from_low, self.from_high, self.between, strict=True)
        equal = [low - high - len(inside) for low, high, inside in counts]
        return self.low, kept - from_high - len(between), equal


def thresholds(tensors: Sequence[Tensor], measure: Measure, kept: Sequence[int]) -> list[Threshold]:
    """For each number of elements to keep (from 1 to all), the threshold of that many largest; of equals the first."""
    sample = _sampled(tensors, measure)
    found: dict[int, Threshold] = {}
    margin = 5.0  # standard deviations of a quantile in the sample
    while missing := [number for number in dict.fromkeys(kept) if number not in found]:
        brackets = [_bracket(sample, 1 - number / tensors[0].numel(), margin) for number in missing]
        for _, parts in segments(tensors):
            sizes = measure(parts).numpy()
            for bracket in brackets:
                bracket.note(sizes)
        for number, bracket in zip(missing, brackets, strict=True):
            answer = bracket.threshold(number)
            if answer is not None:
                found[number] = Threshold(answer[0], _last(tensors, measure, *answer))
        margin *= 16
    return [found[number] for number in kept]


def _sampled(tensors: Sequence[Tensor], measure: Measure) -> Sizes:
    """The sizes of some elements, spread evenly, in ascending order; none of a tensor too small to be worth it."""
    count = tensors[0].numel()
    if count <= SEGMENT:
        return np.empty(0, np.float32)
    places = np.sort((np.arange(_SAMPLE) * _GOLDEN % 1.0 * count).astype(np.int64))
    sizes = measure([tensor.reshape(-1)[torch.from_numpy(places)].float() for tensor in tensors])
    return np.sort(sizes.numpy())


def _bracket(sample: Sizes, quantile: float, margin: float) -> _Bracket:
    middle = quantile * len(sample)
    width = margin * math.sqrt(max(1.0, len(sample) * quantile * (1 - quantile))) + 4
    low, high = math.floor(middle - width), math.ceil(middle + width)
    return _Bracket(
        float(sample[low]) if low >= 0 and len(sample) else 0.0,
        float(sample[high]) if high < len(sample) else math.inf,
    )


def _last(tensors: Sequence[Tensor], measure: Measure, value: float, left: int, equal: Sequence[int]) -> int:
    """The flat index of the left-th element of that size, given how many each segment has."""
    before = np.cumsum([0, *equal])
    if left == before[-1]:
        return tensors[0].numel() - 1  # all of them: no need to look for the last
    number = int(np.searchsorted(before, left)) - 1
    start = number * SEGMENT
    parts = [tensor.reshape(-1)[start : start + SEGMENT].to(torch.float32, copy=True) for tensor in tensors]
    places = np.flatnonzero(measure(parts).numpy() == value)
    return start + int(places[left - before[number] - 1])


def below(value: float) -> float:
    """The next smaller float32."""
    return float(np.nextafter(np.float32(value), np.float32(-1)))

"""The largest elements of a tensor: found exactly, without sorting it.

A sample of the elements brackets the threshold. One pass over the tensor then counts the elements above the bracket and
collects the few inside it, among which the threshold is. A bracket that missed is widened, so the sample decides how
fast the answer is found, never which one it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from merging.errors import MergingError
from merging.kernels import loops
from merging.kernels.arguments import pointers_to
from merging.kernels.segments import SEGMENT

_SAMPLE = 1 << 15  # elements
_FEW = 1 << 12  # values that are sorted at once
_MARGIN = 5.0  # standard deviations of a quantile in the sample
_GOLDEN = 0.6180339887498949  # its multiples spread evenly over 0..1, whatever the tensor's shape

Values = NDArray[np.float32]
Measure = Callable[[list[Tensor]], Tensor]
"""Computes the sizes of elements, none below zero, from float32 parts of some tensors, which it may overwrite."""


class Sizes(Protocol):
    """The sizes of a tensor's elements, none below zero."""

    @property
    def count(self) -> int:
        """The number of elements."""

    def part(self, start: int, stop: int, memory: Values) -> Values:
        """The sizes of the elements from start to stop; they may be written to `memory`, which has room for them."""

    def at(self, places: NDArray[np.int64]) -> Values:
        """The sizes of single elements, given by their flat indices."""


class MeasuredSizes:
    """Sizes that a measure computes."""

    def __init__(self, tensors: Sequence[Tensor], measure: Measure) -> None:
        """tensors: tensors of equal shape."""
        self._tensors = [tensor.reshape(-1) for tensor in tensors]
        self._measure = measure

    @property
    def count(self) -> int:
        """The number of elements."""
        return len(self._tensors[0])

    def part(self, start: int, stop: int, memory: Values) -> Values:  # noqa: ARG002 - torch has its own
        """The sizes of the elements from start to stop."""
        parts = [tensor[start:stop].to(torch.float32, copy=True) for tensor in self._tensors]
        return self._measure(parts).numpy()

    def at(self, places: NDArray[np.int64]) -> Values:
        """The sizes of single elements, given by their flat indices."""
        wanted = torch.from_numpy(places)
        return self._measure([tensor[wanted].to(torch.float32) for tensor in self._tensors]).numpy()


class Magnitudes:
    """The magnitudes of a tensor's differences from a base, or of the tensor where there is none."""

    def __init__(self, tensor: Tensor, base: Tensor | None) -> None:
        self._flat = [tensor.reshape(-1), *([] if base is None else [base.reshape(-1)])]
        self._where = pointers_to(self._flat[:1]), pointers_to(self._flat[1:])

    @property
    def count(self) -> int:
        """The number of elements."""
        return len(self._flat[0])

    def part(self, start: int, stop: int, memory: Values) -> Values:
        """The sizes of the elements from start to stop, written to the memory."""
        loops.magnitudes(*self._where, start, stop, memory)
        return memory

    def at(self, places: NDArray[np.int64]) -> Values:
        """The sizes of single elements, given by their flat indices."""
        tensor, *bases = (flat[torch.from_numpy(places)].to(torch.float32) for flat in self._flat)
        for base in bases:
            tensor = tensor.sub_(base)
        return tensor.abs().numpy()


@dataclass(frozen=True)
class Threshold:
    """The largest elements: those above `value`, and those equal to it whose flat index is at most `last`."""

    value: float
    last: int

    def keep(self, values: Tensor, start: int) -> None:
        """Set the smaller elements to zero, in a flat float32 segment that starts at `start`."""
        loops.trim(values.numpy(), self.value, self.last, start)


EVERYTHING, NOTHING = Threshold(0.0, 2**62), Threshold(math.inf, -1)


@dataclass
class _Bracket:
    """A range that is likely to hold the threshold; for each segment, how many sizes are above it, and those inside."""

    low: float
    high: float
    above: list[int] = field(default_factory=list)
    from_high: list[int] = field(default_factory=list)
    from_low: list[int] = field(default_factory=list)
    between: list[Values] = field(default_factory=list)

    @property
    def holds_all(self) -> bool:
        """Whether every size is inside, but for NaN."""
        return self.low == 0 and self.high == math.inf

    def note(self, sizes: Values) -> None:
        between = np.empty_like(sizes)
        above, from_high, from_low, found = loops.tally(sizes, self.low, self.high, between)
        self.above.append(above)
        self.from_high.append(from_high)
        self.from_low.append(from_low)
        self.between.append(between[:found].copy())

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
            value = _find_largest(between, kept - from_high)
            equal = [int(np.count_nonzero(sizes == value)) for sizes in self.between]
            return value, kept - from_high - int(np.count_nonzero(between > value)), equal
        counts = zip(self.from_low, self.from_high, self.between, strict=True)
        equal = [low - high - len(inside) for low, high, inside in counts]
        return self.low, kept - from_high - len(between), equal


def find_thresholds(name: str, sizes: Sizes, kept: Sequence[int]) -> list[Threshold]:
    """For each number of elements to keep (from 1 to all), the threshold of that many largest; of equals the first.

    name: the tensor's name. MergingError if so many of its sizes are NaN that there is no such threshold.
    """
    sample = _sampled(sizes)
    found: dict[int, Threshold] = {}
    margin = _MARGIN
    while missing := [number for number in dict.fromkeys(kept) if number not in found]:
        brackets = [_bracket(sample, 1 - number / sizes.count, margin) for number in missing]
        for _, part in size_segments(sizes):
            for bracket in brackets:
                bracket.note(part)
        for number, bracket in zip(missing, brackets, strict=True):
            answer = bracket.threshold(number)
            if answer is not None:
                found[number] = Threshold(answer[0], _last(sizes, *answer))
            elif bracket.holds_all:
                raise MergingError(f"tensor {name}: a source or its base is NaN in it: name another model")
        margin *= 16
    return [found[number] for number in kept]


def size_segments(sizes: Sizes) -> Iterator[tuple[int, Values]]:
    """The start of each segment with its sizes, which overwrite those of the one before."""
    memory = np.empty(min(SEGMENT, sizes.count), np.float32)
    for start in range(0, sizes.count, SEGMENT):
        stop = min(start + SEGMENT, sizes.count)
        yield start, sizes.part(start, stop, memory[: stop - start])


def _sampled(sizes: Sizes) -> Values:
    """The sizes of some elements, spread evenly, in ascending order; none for a tensor of one segment."""
    if sizes.count <= SEGMENT:
        return np.empty(0, np.float32)
    found = sizes.at((_spread() * sizes.count).astype(np.int64))
    return np.sort(found[~np.isnan(found)])  # NaN would sort among the largest, and end a bracket


@cache
def _spread() -> NDArray[np.float64]:
    """The places of the sample in a tensor, from 0 to 1."""
    return np.sort(np.arange(_SAMPLE) * _GOLDEN % 1.0)


def _find_largest(values: Values, number: int) -> float:
    """The number-th largest of some values, none of them NaN.

    It is bracketed as in a tensor until few values are left: to sort all of them takes longer than a pass over the
    tensor.
    """
    if len(values) > 2 * _FEW:
        bracket = _bracket(np.sort(values[:: len(values) // _FEW]), 1 - number / len(values), _MARGIN)
        bracket.note(values)
        if (found := bracket.threshold(number)) is not None:
            return found[0]
    return float(np.sort(values)[len(values) - number])


def _bracket(sample: Values, quantile: float, margin: float) -> _Bracket:
    middle = quantile * len(sample)
    width = margin * math.sqrt(max(1.0, len(sample) * quantile * (1 - quantile))) + 4
    low, high = math.floor(middle - width), math.ceil(middle + width)
    return _Bracket(
        float(sample[low]) if low >= 0 and len(sample) else 0.0,
        float(sample[high]) if high < len(sample) else math.inf,
    )


def _last(sizes: Sizes, value: float, left: int, equal: Sequence[int]) -> int:
    """The flat index of the left-th element of that size, given how many each segment has."""
    before = np.cumsum([0, *equal])
    if left == before[-1]:
        return sizes.count - 1  # all of them: no need to look for the last
    number = int(np.searchsorted(before, left)) - 1
    start = number * SEGMENT
    stop = min(start + SEGMENT, sizes.count)
    places = np.flatnonzero(sizes.part(start, stop, np.empty(stop - start, np.float32)) == value)
    return start + int(places[left - before[number] - 1])

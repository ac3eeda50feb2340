"""Thinning task vectors out: by size, at random, or at random by size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from merging.methods.inputs import Inputs
from merging.methods.segments import SEGMENT, rows_of, segments, total
from merging.methods.selection import thresholds

Thin = Callable[[Tensor, int], None]
"""Thins out a float32 segment of one source's differences, in place, given the segment's start."""

Thinner = Callable[[Inputs, int], Thin]
"""How one source (its index) is thinned out."""

_LEVELS = 1 << 16  # random numbers have 16 bits: a density is honoured to 2⁻¹⁷, and scaled by what it became
_TINY_SUM = 1e-7


def keep_all(inputs: Inputs, source: int) -> Thin:  # noqa: ARG001 - a Thinner
    """Nothing is thinned out."""
    return lambda differences, start: None  # noqa: ARG005 - a Thin


def largest(inputs: Inputs, source: int) -> Thin:
    """The int(dᵢ · n) elements of largest magnitude, at least one (Yadav et al. 2023, TIES)."""
    count, density = inputs.base_tensor().numel(), inputs.values["density"][source]
    kept = max(1, int(density * count)) if density else 0
    return _between(inputs, source, 0, kept)


def inliers(inputs: Inputs, source: int) -> Thin:
    """The int(dᵢ · n) largest after the int(γᵢ · n) largest of all are dropped (Davari & Belilovsky 2024, Breadcrumbs).

    Fewer outliers are dropped where too few elements would be left.
    """
    count, density = inputs.base_tensor().numel(), inputs.values["density"][source]
    kept = count if density == 1 else int(density * count)
    dropped = min(int(inputs.values["gamma"][source] * count), count - kept)
    return _between(inputs, source, dropped, kept)


def dropped(inputs: Inputs, source: int) -> Thin:
    """Each element survives with probability dᵢ, and is then scaled by 1/dᵢ if `rescale` (Yu et al. 2024, DARE).

    mergekit scales by the ratio of the sums of magnitudes before and after instead, which is 1/dᵢ on average.
    """
    level = _level(inputs.values["density"][source])
    if level in (0, _LEVELS):
        return keep_all(inputs, source) if level else _drop_all
    scale = _LEVELS / level if inputs.shared("rescale") else 1.0

    def thin(differences: Tensor, start: int) -> None:
        survives = _random(inputs, source, start, len(differences)) < level
        factors = torch.from_numpy(survives.view(np.uint8)).to(torch.float32)
        differences.mul_(factors if scale == 1 else factors.mul_(scale))

    return thin


def dropped_by_rank(inputs: Inputs, source: int) -> Thin:
    """Each element survives with a probability from dᵢ - εᵢ to dᵢ + εᵢ by the rank of its magnitude in its row.

    It is then scaled by the inverse of that probability if `rescale` (Deep et al. 2024, DELLA), so that each
    keeps its value on average. mergekit scales the whole tensor by one factor, the ratio of the sums of
    magnitudes before and after, which on average shrinks the small and swells the large ones. Rows are the
    vectors of the first dimension; a tensor of one dimension is one row.
    """
    density, epsilon = inputs.values["density"][source], inputs.values["epsilon"][source]
    if density in (0, 1):
        return dropped(inputs, source)
    shape = inputs.base_tensor().shape
    width = inputs.base_tensor().numel() // (shape[0] if len(shape) > 1 else 1)
    rank = np.linspace(0, 1, width) if width > 1 else np.full(1, 0.5)
    levels = np.clip(np.rint((density - epsilon + rank * 2 * epsilon) * _LEVELS), 1, _LEVELS - 1).astype(np.uint16)
    scales = (_LEVELS / levels if inputs.shared("rescale") else np.ones(width)).astype(np.float32)

    def thin(differences: Tensor, start: int) -> None:
        order = _ranked(differences, width)
        draws = _random(inputs, source, start, len(differences)).reshape(-1, width)
        factors = np.empty(len(differences), np.float32)
        factors[order] = np.where(draws < levels, scales, np.float32(0)).reshape(-1)
        differences.mul_(torch.from_numpy(factors))

    return thin


def segment_of(thinner: Thinner, shape: torch.Size) -> int:
    """The length of the segments that a thinner works on: whole rows where it ranks them."""
    rows = shape[0] if len(shape) > 1 else 1
    return rows_of(shape.numel() // rows) if thinner is dropped_by_rank and shape.numel() else SEGMENT


def _between(inputs: Inputs, source: int, dropped: int, kept: int) -> Thin:
    """Keep so many largest elements after some larger ones."""
    count = inputs.base_tensor().numel()
    if kept == 0:
        return _drop_all
    if kept == count:
        return keep_all(inputs, source)
    wanted = tuple(number for number in (dropped, dropped + kept) if 0 < number < count)
    origins = [inputs.base_tensor(), inputs.load(source)]
    found = inputs.once(("largest", wanted), (source,), lambda: thresholds(origins, _magnitudes, wanted))
    limits = dict(zip(wanted, found, strict=True))
    upper, lower = limits.get(dropped), limits.get(dropped + kept)

    def thin(differences: Tensor, start: int) -> None:
        outliers = differences.clone() if upper else None
        if lower:
            lower.keep(differences, start)
        if upper and outliers is not None:
            upper.keep(outliers, start)
            differences.sub_(outliers)

    return _to_same_sum(inputs, source, thin, wanted) if inputs.shared("rescale") else thin


def _to_same_sum(inputs: Inputs, source: int, thin: Thin, wanted: tuple[int, ...]) -> Thin:
    """Thin out, then scale so that the magnitudes of the tensor's differences sum up to what they did before."""

    def measure() -> float:
        before = after = 0.0
        for start, parts in segments([inputs.load(source), inputs.base_tensor()]):
            difference = parts[0].sub_(parts[1])
            before += total(difference.abs().double())
            thin(difference, start)
            after += total(difference.abs().double())
        return 1.0 if before < _TINY_SUM or after < _TINY_SUM else before / after

    scale = inputs.once(("same sum", wanted), (source,), measure)

    def thin_and_scale(differences: Tensor, start: int) -> None:
        thin(differences, start)
        differences.mul_(scale)

    return thin_and_scale


def _drop_all(differences: Tensor, start: int) -> None:  # noqa: ARG001 - a Thin
    differences.zero_()


def _magnitudes(parts: list[Tensor]) -> Tensor:
    base, source = parts
    return source.sub_(base).abs_()


def _level(density: float) -> int:
    """A density as the number of random levels that survive: none and all only where it is 0 or 1."""
    return round(density * _LEVELS) if density in (0, 1) else min(max(round(density * _LEVELS), 1), _LEVELS - 1)


def _random(inputs: Inputs, source: int, start: int, count: int) -> NDArray[np.uint16]:
    """Independent numbers, uniform over 0 ... 2¹⁶ - 1, for the elements from `start` on."""
    words = inputs.draw.generator(source, start).random_raw(-(-count // 4))
    return words.astype("<u8", copy=False).view(np.uint16)[:count]


def _ranked(differences: Tensor, width: int) -> NDArray[np.int64]:
    """Flat indices of whole rows' elements, in each row by ascending magnitude; of equals the first."""
    bits = differences.abs().numpy().view(np.uint32).astype(np.uint64)  # ordered as the numbers are
    keys = (bits << np.uint64(32)) | np.arange(len(differences), dtype=np.uint64)
    keys = keys.reshape(-1, width)
    keys.sort(axis=1)
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64).reshape(-1)

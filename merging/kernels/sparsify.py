"""Thinning of task vectors: by size, at random, or at random by size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from merging.kernels import loops
from merging.kernels.inputs import Inputs
from merging.kernels.segments import SEGMENT, ordered_sum, rows_of, width_of
from merging.kernels.sums import Thinning
from merging.kernels.thresholds import EVERYTHING, NOTHING, Magnitudes, find_thresholds, size_segments

Thinner = Callable[[Inputs, int], Thinning]
"""Decides how one source, given by its index, is thinned."""

_LEVELS = 1 << 16  # random numbers have 16 bits: a density is honoured to 2⁻¹⁷, and scaled by what it became
_TINY_SUM = 1e-7


def keep_all(inputs: Inputs, source: int) -> Thinning:  # noqa: ARG001 - a Thinner
    """Keep everything."""
    return Thinning()


def keep_largest(inputs: Inputs, source: int) -> Thinning:
    """The int(dᵢ · n) elements of largest magnitude, at least one (Yadav et al. 2023, TIES)."""
    count, density = inputs.base_tensor().numel(), inputs.values["density"][source]
    kept = max(1, int(density * count)) if density else 0
    return _keep_between(inputs, source, 0, kept)


def keep_inliers(inputs: Inputs, source: int) -> Thinning:
    """The int(dᵢ · n) largest after the int(γᵢ · n) largest of all are dropped (Davari & Belilovsky 2024, Breadcrumbs).

    Fewer outliers are dropped where too few elements would be left.
    """
    count, density = inputs.base_tensor().numel(), inputs.values["density"][source]
    kept = count if density == 1 else int(density * count)
    dropped = min(int(inputs.values["gamma"][source] * count), count - kept)
    return _keep_between(inputs, source, dropped, kept)


def drop_at_random(inputs: Inputs, source: int) -> Thinning:
    """Each element survives with probability dᵢ, and is then scaled by 1/dᵢ if `rescale` (Yu et al. 2024, DARE).

    mergekit scales by the ratio of the sums of magnitudes before and after instead, which is 1/dᵢ on average.
    """
    level = _level(inputs.values["density"][source])
    if level in (0, _LEVELS):
        return Thinning() if level else Thinning(lower=NOTHING)
    scale = _LEVELS / level if inputs.shared("rescale") else 1.0

    def factors(out: NDArray[np.float32], start: int) -> None:
        loops.survivors(_draw_numbers(inputs, source, start, len(out)), level, scale, out)

    return Thinning(factors=factors)


def drop_by_rank(inputs: Inputs, source: int) -> Thinning:
    """Each element survives with a probability from dᵢ - εᵢ to dᵢ + εᵢ by the rank of its magnitude in its row.

    It is then scaled by the inverse of that probability if `rescale` (Deep et al. 2024, DELLA), so that each
    keeps its value on average. mergekit scales the whole tensor by one factor, the ratio of the sums of
    magnitudes before and after, which on average shrinks the small and swells the large ones. Rows are the
    vectors of the first dimension; a tensor of one dimension is one row.
    """
    density, epsilon = inputs.values["density"][source], inputs.values["epsilon"][source]
    if density in (0, 1):
        return drop_at_random(inputs, source)
    base = inputs.base_tensor()
    width = width_of(base, down=base.dim() > 1)
    rank = np.linspace(0, 1, width) if width > 1 else np.full(1, 0.5)
    levels = np.clip(np.rint((density - epsilon + rank * 2 * epsilon) * _LEVELS), 1, _LEVELS - 1).astype(np.uint16)
    scales = (_LEVELS / levels if inputs.shared("rescale") else np.ones(width)).astype(np.float32)

    sizes = _magnitudes(inputs, source)

    def factors(out: NDArray[np.float32], start: int) -> None:
        order = _rank_rows(sizes.part(start, start + len(out), np.empty_like(out)), width)
        draws = _draw_numbers(inputs, source, start, len(out)).reshape(-1, width)
        out[order] = np.where(draws < levels, scales, np.float32(0)).reshape(-1)

    return Thinning(factors=factors)


def segment_of(thinner: Thinner, shape: torch.Size) -> int:
    """The length of the segments that a thinner works on: whole rows where it ranks them."""
    rows = shape[0] if len(shape) > 1 else 1
    return rows_of(shape.numel() // rows) if thinner is drop_by_rank and shape.numel() else SEGMENT


def _keep_between(inputs: Inputs, source: int, dropped: int, kept: int) -> Thinning:
    """Drop the `dropped` largest elements and keep the `kept` next largest ones."""
    count = inputs.base_tensor().numel()
    if kept == 0:
        return Thinning(lower=NOTHING)
    if kept == count:
        return Thinning()
    wanted = tuple(number for number in (dropped, dropped + kept) if 0 < number < count)
    sizes = _magnitudes(inputs, source)
    found = inputs.once(("largest", wanted), (source,), lambda: find_thresholds(inputs.draw.tensor_name, sizes, wanted))
    limits = dict(zip(wanted, found, strict=True))
    thin = Thinning(limits.get(dropped + kept, EVERYTHING), limits.get(dropped, NOTHING))
    if not inputs.shared("rescale"):
        return thin
    return replace(thin, scale=inputs.once(("same sum", wanted), (source,), lambda: _scale_to_same_sum(sizes, thin)))


def _magnitudes(inputs: Inputs, source: int) -> Magnitudes:
    difference = inputs.difference(source)
    if difference is not None:
        return Magnitudes(difference, None)
    return Magnitudes(inputs.load(source), inputs.base_tensor())


def _scale_to_same_sum(sizes: Magnitudes, thin: Thinning) -> float:
    """The factor after which the thinned differences' magnitudes have the same sum as before."""
    before = after = 0.0
    for start, segment in size_segments(sizes):
        part = torch.from_numpy(segment)
        outliers = part.clone()
        before += ordered_sum(part.double())
        thin.upper.keep(outliers, start)
        thin.lower.keep(part, start)
        after += ordered_sum(part.sub_(outliers).double())
    return 1.0 if before < _TINY_SUM or after < _TINY_SUM else before / after


def _level(density: float) -> int:
    """A density as the number of random levels that survive: none and all only where it is 0 or 1."""
    return round(density * _LEVELS) if density in (0, 1) else min(max(round(density * _LEVELS), 1), _LEVELS - 1)


def _draw_numbers(inputs: Inputs, source: int, start: int, count: int) -> NDArray[np.uint16]:
    """Independent numbers, uniform over 0 ... 2¹⁶ - 1, for the elements from `start` on."""
    words = inputs.draw.generator(source, start).random_raw(-(-count // 4))
    return words.astype("<u8", copy=False).view(np.uint16)[:count]


def _rank_rows(sizes: NDArray[np.float32], width: int) -> NDArray[np.int64]:
    """Flat indices of whole rows' elements, in each row by ascending size; of equals the first."""
    bits = sizes.view(np.uint32).astype(np.uint64)  # ordered as the numbers are
    keys = (bits << np.uint64(32)) | np.arange(len(sizes), dtype=np.uint64)
    keys = keys.reshape(-1, width)
    keys.sort(axis=1)
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64).reshape(-1)

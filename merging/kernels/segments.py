"""Merging tensors segment by segment: memory is read and written once, and the rest happens in a few cached buffers.

Bits depend on the inputs alone, not on the processor or the number of threads. So products and sums are separate
operations, because torch's `add` with a factor rounds once or twice depending on the processor; and a sum over a tensor
is made of float64 sums over rows of fixed length, because torch splits a long sum among threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from merging.errors import MergingError
from merging.kernels.inputs import Inputs

SEGMENT = 1 << 17  # elements: some float32 buffers of this length stay in the cache
_ROW = 1 << 14  # elements; torch sums a row of this length in one thread

Combine = Callable[[list[Tensor], list[Tensor], int], Tensor]
"""Merges one segment: gets each tensor's and spare ones in float32, all to be overwritten, and the segment's start."""


def merge_by_segment(
    inputs: Inputs, tensors: Sequence[Tensor], combine: Combine, *, spare: int = 0, segment: int = SEGMENT
) -> Tensor:
    """Merge equally shaped tensors, flat and segment by segment, into one of the dtype asked for.

    MergingError if the result is not finite.
    """
    merged = torch.empty(tensors[0].shape, dtype=inputs.dtype) if inputs.into is None else inputs.into
    target = merged.view(-1)
    for start, parts in segments(tensors, spare=spare, segment=segment):
        result = target[start : start + len(parts[0])]
        result.copy_(combine(parts[: len(tensors)], parts[len(tensors) :], start))
        low, high = torch.aminmax(result)  # both are NaN if one element is; far faster than torch.isfinite
        if not (math.isfinite(low) and math.isfinite(high)):
            raise not_finite_error(inputs)
    return merged


def not_finite_error(inputs: Inputs) -> MergingError:
    """The error for a merged tensor that holds NaN or infinity."""
    dtype = str(inputs.dtype).removeprefix("torch.")
    return MergingError(f"tensor {inputs.draw.tensor_name}: the merge is not finite in {dtype}: use smaller weights")


def segments(
    tensors: Sequence[Tensor], *, spare: int = 0, segment: int = SEGMENT, dtype: torch.dtype = torch.float32
) -> Iterator[tuple[int, list[Tensor]]]:
    """The start of each segment, and copies of the tensors' parts in it, followed by spare buffers.

    The copies are overwritten by the next segment.
    """
    flat = [tensor.reshape(-1) for tensor in tensors]
    count = len(flat[0])
    buffers = torch.empty(len(tensors) + spare, min(segment, count), dtype=dtype)
    for start in range(0, count, segment):
        parts = list(buffers[:, : min(segment, count - start)])
        for part, tensor in zip(parts, flat, strict=False):
            part.copy_(tensor[start : start + len(part)])
        yield start, parts


def width_of(tensor: Tensor, *, down: bool = False) -> int:
    """The length of a tensor's vectors along the last dimension; down: the number of its vectors along the first.

    At least 1, so that it can be divided by: a single number is one vector, and an empty tensor has none.
    """
    return max(1, math.prod(tensor.shape[1:] if down else tensor.shape[-1:]))


def rows_of(width: int) -> int:
    """The length of segments that hold whole rows of `width` elements."""
    return max(1, SEGMENT // max(1, width)) * max(1, width)


def ordered_sum(values: Tensor) -> float:
    """Sum of a flat float64 tensor, in an order that does not depend on the number of threads."""
    whole = len(values) - len(values) % _ROW
    return float(values[:whole].view(-1, _ROW).sum(dim=1).sum()) + float(values[whole:].sum())

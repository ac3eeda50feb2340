"""Methods that take single elements of a second model over into a first."""

from __future__ import annotations

import torch
from torch import Tensor

from merging.methods.inputs import Inputs
from merging.methods.segments import by_segment, rows_of, segments, width_of
from merging.methods.selection import Measured, thresholds

_CLOSE = 1e-6
_KL_EPS = 1e-8


def nearswap(inputs: Inputs) -> Tensor:
    """a + s (b - a) with s = min(1, t / |a - b|): what differs by at most t is taken from the second (alchemonaut).

    So each element moves by t at most. Distances below 1e-6 count as 1e-6, as in mergekit.
    """
    t = inputs.shared("t")
    if t == 0:
        return by_segment(inputs, [inputs.load(0)], lambda parts, _, __: parts[0])

    def merge(parts: list[Tensor], spare: list[Tensor], _: int) -> Tensor:
        first, second = parts
        share = torch.sub(first, second, out=spare[0]).abs_().clamp_(min=_CLOSE).reciprocal_().mul_(t).clamp_(max=1)
        second.mul_(share)
        return first.mul_(share.neg_().add_(1)).add_(second)

    return by_segment(inputs, [inputs.load(0), inputs.load(1)], merge, spare=1)


def arcee_fusion(inputs: Inputs) -> Tensor:
    """The first model with what matters most of the second (Arcee Fusion).

    Importance is |b - a| · KL(softmax b ‖ softmax a), the divergence that of the whole vector along the last
    dimension; elements from median + 1.5 · (third quartile - first quartile) on are taken over. mergekit finds the
    quartiles of tensors above a million elements in a random sample, here they are exact; and it sums the
    divergence in float32, where that of close models is mostly rounding, here in float64.
    """
    tensors = [inputs.load(0), inputs.load(1)]
    importance = _importance(*tensors)
    count = importance.numel()
    if not count:
        return torch.empty(importance.shape, dtype=inputs.dtype)
    # The elements at places 0.25, 0.5 and 0.75 of the way from the smallest to the largest.
    kept = [count - int(quarter * (count - 1)) for quarter in (0.25, 0.5, 0.75)]
    found = thresholds(inputs.draw.tensor_name, Measured([importance], lambda parts: parts[0]), kept)
    first, median, third = (torch.tensor(one.value) for one in found)
    limit = float(median + 1.5 * (third - first))

    def merge(parts: list[Tensor], _: list[Tensor], __: int) -> Tensor:
        base, other, importances = parts
        return base.add_(other.sub_(base).mul_(importances >= limit))

    return by_segment(inputs, [*tensors, importance], merge)


def _importance(first: Tensor, second: Tensor) -> Tensor:
    """Float32 importance of each element's change from the first to the second, flat; shaped as they are."""
    width = width_of(first)
    found = torch.empty(first.shape, dtype=torch.float32)
    flat = found.view(-1)
    for start, (old, new) in segments([first, second], segment=rows_of(width)):
        before, after = (part.double().view(-1, width).softmax(dim=1).add_(_KL_EPS) for part in (old, new))
        divergence = (after * (after / before).log_()).sum(dim=1, keepdim=True).clamp_(min=0)
        change = new.sub_(old).abs_().view(-1, width).mul_(divergence.float())
        flat[start : start + len(new)] = change.view(-1)
    return found

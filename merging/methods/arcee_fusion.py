"""Arcee Fusion: a first model with the most important changes of a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from merging.specs.method import Customary, Method
from merging.specs.search import ByChoice

if TYPE_CHECKING:
    from torch import Tensor

    from merging.kernels.inputs import Inputs

_KL_EPS = 1e-8


def arcee_fusion(inputs: Inputs) -> Tensor:
    """The first model with what matters most of the second (Arcee Fusion).

    Importance is |b - a| · KL(softmax b ‖ softmax a), the divergence that of the whole vector along the last
    dimension; elements from median + 1.5 · (third quartile - first quartile) on are taken over. mergekit finds the
    quartiles of tensors above a million elements in a random sample, here they are exact; and it sums the
    divergence in float32, where that of close models is mostly rounding, here in float64.
    """
    import torch

    from merging.kernels.segments import merge_by_segment
    from merging.kernels.thresholds import MeasuredSizes, find_thresholds

    tensors = [inputs.load(0), inputs.load(1)]
    importance = _importance(*tensors)
    count = importance.numel()
    if not count:
        return torch.empty(importance.shape, dtype=inputs.dtype)
    # The elements at places 0.25, 0.5 and 0.75 of the way from the smallest to the largest.
    kept = [count - int(quarter * (count - 1)) for quarter in (0.25, 0.5, 0.75)]
    found = find_thresholds(inputs.draw.tensor_name, MeasuredSizes([importance], lambda parts: parts[0]), kept)
    first, median, third = (torch.tensor(one.value) for one in found)
    limit = float(median + 1.5 * (third - first))

    def merge(parts: list[Tensor], _: list[Tensor], __: int) -> Tensor:
        base, other, importances = parts
        return base.add_(other.sub_(base).mul_(importances >= limit))

    return merge_by_segment(inputs, [*tensors, importance], merge)


def _importance(first: Tensor, second: Tensor) -> Tensor:
    """The importance of each element's change from the first to the second, float32 and shaped as they are."""
    import torch

    from merging.kernels.segments import rows_of, segments, width_of

    width = width_of(first)
    found = torch.empty(first.shape, dtype=torch.float32)
    flat = found.view(-1)
    for start, (old, new) in segments([first, second], segment=rows_of(width)):
        before, after = (part.double().view(-1, width).softmax(dim=1).add_(_KL_EPS) for part in (old, new))
        divergence = (after * (after / before).log_()).sum(dim=1, keepdim=True).clamp_(min=0)
        change = new.sub_(old).abs_().view(-1, width).mul_(divergence.float())
        flat[start : start + len(new)] = change.view(-1)
    return found


METHODS = (
    Method(
        name="arcee_fusion",
        sentence="the first source, with those values of the second whose change matters most (Arcee Fusion)",
        formula=arcee_fusion,
        parameters={},
        base="first",
        search=ByChoice(),
        customary=Customary("arcee_fusion"),
        min_sources=2,
        max_sources=2,
    ),
)

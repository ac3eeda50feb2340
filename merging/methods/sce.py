"""SCE: the base plus an average of the sources' changes, where the sources vary most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from merging.specs.method import SHARE, Customary, GeneRange, Method, Parameter
from merging.specs.search import AllSources

if TYPE_CHECKING:
    from torch import Tensor

    from merging.kernels.inputs import Inputs
    from merging.kernels.thresholds import Threshold

_TINY = 1e-6


def sce(inputs: Inputs) -> Tensor:
    """Select, calculate, erase (Wan et al. 2024, FuseChat): b + Σ wᵢ δᵢ / Σ wᵢ over what has the elected sign.

    Select: of the elements whose differences δᵢ = xᵢ - b vary among the sources at all, the part `select_topk`
    that varies most. Calculate: wᵢ is the mean of δᵢ² over the tensor, divided by their sum (all alike where that
    is below 1e-6, as in mergekit). Erase: what disagrees with the sign of Σ δᵢ does not count.
    """
    from merging.kernels.segments import merge_by_segment

    tensors, base = inputs.all_tensors(), inputs.base_tensor()
    sources, top = tuple(range(len(tensors))), inputs.shared("select_topk")
    limit = None if top == 1 else inputs.once(("varying", top), sources, lambda: _most_varying(inputs, tensors, base))
    weights = inputs.once(("squares", top), sources, lambda: _shares(tensors, base, limit))

    def merge(parts: list[Tensor], spare: list[Tensor], start: int) -> Tensor:
        differences = _selected(parts, spare, limit, start)
        return _erased(differences, weights, spare).add_(parts[-1])

    return merge_by_segment(inputs, [*tensors, base], merge, spare=3)


def _most_varying(inputs: Inputs, tensors: list[Tensor], base: Tensor) -> Threshold:
    """The threshold of variance that `select_topk` of the varying elements reach."""
    from merging.kernels.segments import segments
    from merging.kernels.thresholds import NOTHING, MeasuredSizes, find_thresholds

    varying = 0
    for _, parts in segments([*tensors, base]):
        varying += int(_variances(parts).count_nonzero())
    kept = int(varying * inputs.shared("select_topk"))
    sizes = MeasuredSizes([*tensors, base], _variances)
    return find_thresholds(inputs.draw.tensor_name, sizes, [kept])[0] if kept else NOTHING


def _variances(parts: list[Tensor]) -> Tensor:
    """The variance among the sources of each element's difference from the base, the last part."""
    from merging.kernels.sums import add_up

    differences = [part.sub_(parts[-1]) for part in parts[:-1]]
    mean = add_up([differences[0].clone(), *differences[1:]]).div_(len(differences))
    return add_up([difference.sub_(mean).square_() for difference in differences]).div_(len(differences))


def _selected(parts: list[Tensor], spare: list[Tensor], limit: Threshold | None, start: int) -> list[Tensor]:
    """The differences from the base, the last part; zero where they vary too little."""
    import torch

    from merging.kernels.sums import add_up

    differences = [part.sub_(parts[-1]) for part in parts[:-1]]
    if limit is not None:
        mean, variance, square = spare
        add_up([mean.copy_(differences[0]), *differences[1:]]).div_(len(differences))
        variance.zero_()
        for difference in differences:
            variance.add_(torch.sub(difference, mean, out=square).square_())
        limit.keep(variance.div_(len(differences)), start)
        varies = variance.sign_()
        for difference in differences:
            difference.mul_(varies)
    return differences


def _shares(tensors: list[Tensor], base: Tensor, limit: Threshold | None) -> list[float]:
    """The weight of each source: its mean squared difference from the base, as a share of all of them."""
    import numpy as np

    from merging.kernels.segments import ordered_sum, segments

    squares = np.zeros(len(tensors))
    for start, parts in segments([*tensors, base], spare=3):
        differences = _selected(parts[: len(tensors) + 1], parts[len(tensors) + 1 :], limit, start)
        squares += [ordered_sum(difference.double().square_()) for difference in differences]
    means = squares / max(1, base.numel())
    even = means.sum() < _TINY
    return [1 / len(tensors)] * len(tensors) if even else list(map(float, means / means.sum()))


def _erased(differences: list[Tensor], weights: list[float], spare: list[Tensor]) -> Tensor:
    """Σ wᵢ δᵢ / Σ wᵢ over the differences with the sign of their sum."""
    import torch

    from merging.kernels.sums import add_up

    sign, divisor, part = spare
    add_up([sign.copy_(differences[0]), *differences[1:]])
    torch.copysign(torch.ones(()), sign.add_(0.0), out=sign)
    divisor.zero_()
    for difference, weight in zip(differences, weights, strict=True):
        difference.mul_(sign).relu_()
        divisor.add_(torch.sign(difference, out=part).mul_(weight))
        difference.mul_(weight)
    return add_up(differences).mul_(sign).div_(divisor.clamp_(min=_TINY))


METHODS = (
    Method(
        name="sce",
        sentence="the base plus an average of what the sources changed in it, where they differ most (select_topk), "
        "after conflicting signs are settled by majority (SCE)",
        formula=sce,
        parameters={"select_topk": Parameter(1.0, allowed=SHARE, gene=GeneRange(0.1, 1))},
        base="required",
        search=AllSources(),
        # The top tenth (Wan et al. 2024).
        customary=Customary("sce, top tenth", {"select_topk": 0.1}),
        ignored=("int8_mask",),
    ),
)

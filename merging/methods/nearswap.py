"""NearSwap: a first model, moved towards a second where the two are close."""

from __future__ import annotations

from typing import TYPE_CHECKING

from merging.specs.method import NOT_NEGATIVE, Customary, GeneRange, Method, Parameter
from merging.specs.search import Between

if TYPE_CHECKING:
    from torch import Tensor

    from merging.kernels.inputs import Inputs

_CLOSE = 1e-6


def nearswap(inputs: Inputs) -> Tensor:
    """a + s (b - a) with s = min(1, t / |a - b|): what differs by at most t is taken from the second (alchemonaut).

    So each element moves by t at most. Distances below 1e-6 count as 1e-6, as in mergekit.
    """
    import torch

    from merging.kernels.segments import merge_by_segment

    t = inputs.shared("t")
    if t == 0:
        return merge_by_segment(inputs, [inputs.load(0)], lambda parts, _, __: parts[0])

    def merge(parts: list[Tensor], spare: list[Tensor], _: int) -> Tensor:
        first, second = parts
        share = torch.sub(first, second, out=spare[0]).abs_().clamp_(min=_CLOSE).reciprocal_().mul_(t).clamp_(max=1)
        second.mul_(share)
        return first.mul_(share.neg_().add_(1)).add_(second)

    return merge_by_segment(inputs, [inputs.load(0), inputs.load(1)], merge, spare=1)


METHODS = (
    Method(
        name="nearswap",
        sentence="the first source, with every value moved towards the second's by at most t (NearSwap)",
        formula=nearswap,
        # Weights of today's models are some hundredths, and differ by less: so do useful thresholds.
        parameters={"t": Parameter(allowed=NOT_NEGATIVE, gene=GeneRange(0, 1, unit=0.01))},
        base="first",
        search=Between(reaches_second=False),
        customary=Customary("nearswap, t 0.001", {"t": 0.001}),
        min_sources=2,
        max_sources=2,
    ),
)

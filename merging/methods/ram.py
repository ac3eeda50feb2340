"""RAM and RAM+: changes that one source alone has made are kept whole, those of several are averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from merging.specs.method import NOT_NEGATIVE, POSITIVE, Customary, GeneRange, Method, Parameter
from merging.specs.search import AllSources

if TYPE_CHECKING:
    from torch import Tensor

    from merging.kernels.inputs import Inputs

_ALPHA = 0.2


def ram(inputs: Inputs) -> Tensor:
    """b + Σ δᵢ / c, over the c differences δᵢ = xᵢ - b beyond ±`epsilon` (Yuan et al. 2026, RAM).

    What one source alone has learnt is kept whole; only what several have is averaged.
    """
    from merging.kernels.segments import merge_by_segment
    from merging.kernels.sums import add_up

    epsilon = inputs.shared("epsilon")

    def merge(parts: list[Tensor], spare: list[Tensor], _: int) -> Tensor:
        differences, counts = _active(parts, spare, epsilon)
        return add_up(differences).div_(counts.clamp_(min=1)).add_(parts[-1])

    return merge_by_segment(inputs, [*inputs.all_tensors(), inputs.base_tensor()], merge, spare=2)


def ramplus_tl(inputs: Inputs) -> Tensor:
    """b + Σ sᵢ δᵢ / c as in RAM, but sᵢ = 1 + r · min(ρᵢ, α) for what source i alone has learnt.

    sᵢ is 1 for what it shares, which is averaged. ρᵢ is the number of the source's differences beyond ±`epsilon` that
    it shares with others, divided by the number that it has alone, both counted in this tensor: the tensor-local form
    of RAM+ (Yuan et al. 2026).
    """
    import torch

    from merging.kernels.segments import merge_by_segment
    from merging.kernels.sums import add_up

    tensors, base = inputs.all_tensors(), inputs.base_tensor()
    sources, epsilon = tuple(range(len(tensors))), inputs.shared("epsilon")
    counts = inputs.once(("contributions", epsilon), sources, lambda: _contributions(tensors, base, epsilon))
    most = inputs.shared("alpha")
    extra = [inputs.shared("r") * min(shared / max(alone, epsilon), most) for shared, alone in counts]

    def merge(parts: list[Tensor], spare: list[Tensor], _: int) -> Tensor:
        differences, counts = _active(parts, spare[:2], epsilon)
        alone, factors = torch.eq(counts, 1, out=spare[1]), spare[2]
        for difference, more in zip(differences, extra, strict=True):
            difference.mul_(torch.mul(alone, more, out=factors).add_(1))
        return add_up(differences).div_(counts.clamp_(min=1)).add_(parts[-1])

    return merge_by_segment(inputs, [*tensors, base], merge, spare=3)


def _active(parts: list[Tensor], spare: list[Tensor], epsilon: float) -> tuple[list[Tensor], Tensor]:
    """The differences from the base, the last part, that are beyond ±epsilon, and how many each element has."""
    import torch

    counts, part = spare
    counts.zero_()
    differences = [torch.hardshrink(part.sub_(parts[-1]), epsilon, out=part) for part in parts[:-1]]
    for difference in differences:
        counts.add_(torch.sign(difference, out=part).abs_())
    return differences, counts


def _contributions(tensors: list[Tensor], base: Tensor, epsilon: float) -> list[tuple[int, int]]:
    """For each source, how many of its differences beyond ±epsilon it shares with others, and how many it does not."""
    import numpy as np

    from merging.kernels.segments import segments

    found = np.zeros((len(tensors), 2), dtype=np.int64)
    for _, parts in segments([*tensors, base], spare=2):
        differences, counts = _active(parts[: len(tensors) + 1], parts[len(tensors) + 1 :], epsilon)
        alone = (counts == 1).numpy()
        for row, difference in enumerate(differences):
            active = difference.numpy() != 0
            unshared = int(np.count_nonzero(active & alone))
            found[row] += (int(np.count_nonzero(active)) - unshared, unshared)
    return [(int(shared), int(unshared)) for shared, unshared in found]


def _settle_ramplus(values: dict[str, float]) -> dict[str, float]:
    """RAM+ that scales by nothing is RAM, whatever its other value is."""
    return values if values["r"] and values["alpha"] else {"r": 0.0, "alpha": _ALPHA}


METHODS = (
    Method(
        name="ram",
        sentence="the base plus what the sources changed in it by more than epsilon, averaged only where several did "
        "(RAM)",
        formula=ram,
        parameters={"epsilon": Parameter(1e-5, allowed=NOT_NEGATIVE, gene=GeneRange(0, 1, unit=0.001))},
        base="required",
        search=AllSources(),
        customary=Customary("ram", {"epsilon": 1e-5}),
    ),
    Method(
        name="ramplus_tl",
        sentence="the base plus what the sources changed in it, averaged where several did and strengthened where one "
        "did alone (r, alpha; RAM+)",
        formula=ramplus_tl,
        parameters={
            "r": Parameter(0.1, allowed=NOT_NEGATIVE, gene=GeneRange(0, 1)),
            "alpha": Parameter(_ALPHA, allowed=NOT_NEGATIVE, gene=GeneRange(0, 1)),
            "epsilon": Parameter(1e-5, allowed=POSITIVE),
        },
        base="required",
        search=AllSources(_settle_ramplus),
        customary=Customary("ramplus_tl", {"alpha": 0.2, "r": 0.1}),
    ),
)

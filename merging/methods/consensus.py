"""Methods that decide element by element, by themselves, which sources count: they take no weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from merging.methods.averages import add_up
from merging.methods.inputs import Inputs
from merging.methods.segments import by_segment, segments, total
from merging.methods.selection import NOTHING, Measured, Threshold, thresholds

_TINY = 1e-6


def sce(inputs: Inputs) -> Tensor:
    """Select, calculate, erase (Wan et al. 2024, FuseChat): b + Σ wᵢ δᵢ / Σ wᵢ over what has the elected sign.

    Select: of the elements whose differences δᵢ = xᵢ - b vary among the sources at all, the part `select_topk`
    that varies most. Calculate: wᵢ is the mean of δᵢ² over the tensor, divided by their sum (all alike where that
    is below 1e-6, as in mergekit). Erase: what disagrees with the sign of Σ δᵢ does not count.
    """
    tensors, base = _origins(inputs)
    sources, top = tuple(range(len(tensors))), inputs.shared("select_topk")
    limit = None if top == 1 else inputs.once(("varying", top), sources, lambda: _most_varying(inputs, tensors, base))
    weights = inputs.once(("squares", top), sources, lambda: _shares(tensors, base, limit))

    def merge(parts: list[Tensor], spare: list[Tensor], start: int) -> Tensor:
        differences = _selected(parts, spare, limit, start)
        return _erased(differences, weights, spare).add_(parts[-1])

    return by_segment(inputs, [*tensors, base], merge, spare=3)


def ram(inputs: Inputs) -> Tensor:
    """b + Σ δᵢ / c, over the c differences δᵢ = xᵢ - b beyond ±`epsilon` (Yuan et al. 2026, RAM).

    What one source alone has learnt is kept whole; only what several have is averaged.
    """
    tensors, base = _origins(inputs)
    epsilon = inputs.shared("epsilon")

    def merge(parts: list[Tensor], spare: list[Tensor], _: int) -> Tensor:
        differences, counts = _active(parts, spare, epsilon)
        return add_up(differences).div_(counts.clamp_(min=1)).add_(parts[-1])

    return by_segment(inputs, [*tensors, base], merge, spare=2)


def ramplus_tl(inputs: Inputs) -> Tensor:
    """b + Σ sᵢ δᵢ / c as in RAM, but sᵢ = 1 + r · min(ρᵢ, α) for what source i alone has learnt.

    sᵢ is 1 for what it shares, which is averaged. ρᵢ is the number of the source's differences beyond ±`epsilon` that
    it shares with others, divided by the number that it has alone, both counted in this tensor: the tensor-local form
    of RAM+ (Yuan et al. 2026).
    """
    tensors, base = _origins(inputs)
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

    return by_segment(inputs, [*tensors, base], merge, spare=3)


def _origins(inputs: Inputs) -> tuple[list[Tensor], Tensor]:
    return [inputs.load(source) for source in range(len(inputs.draw.sources))], inputs.base_tensor()


def _most_varying(inputs: Inputs, tensors: list[Tensor], base: Tensor) -> Threshold:
    varying = 0
    for _, parts in segments([*tensors, base]):
        varying += int(np.count_nonzero(_variances(parts).numpy()))
    kept = int(varying * inputs.shared("select_topk"))
    sizes = Measured([*tensors, base], _variances)
    return thresholds(inputs.draw.tensor_name, sizes, [kept])[0] if kept else NOTHING


def _variances(parts: list[Tensor]) -> Tensor:
    """The variance among the sources of each element's difference from the base, the last part."""
    differences = [part.sub_(parts[-1]) for part in parts[:-1]]
    mean = add_up([differences[0].clone(), *differences[1:]]).div_(len(differences))
    return add_up([difference.sub_(mean).square_() for difference in differences]).div_(len(differences))


def _selected(parts: list[Tensor], spare: list[Tensor], limit: Threshold | None, start: int) -> list[Tensor]:
    """The differences from the base, the last part; zero where they vary too little."""
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
    squares = np.zeros(len(tensors))
    for start, parts in segments([*tensors, base], spare=3):
        differences = _selected(parts[: len(tensors) + 1], parts[len(tensors) + 1 :], limit, start)
        squares += [total(difference.double().square_()) for difference in differences]
    means = squares / max(1, base.numel())
    even = means.sum() < _TINY
    return [1 / len(tensors)] * len(tensors) if even else list(map(float, means / means.sum()))


def _erased(differences: list[Tensor], weights: list[float], spare: list[Tensor]) -> Tensor:
    """Σ wᵢ δᵢ / Σ wᵢ over the differences with the sign of their sum."""
    sign, divisor, part = spare
    add_up([sign.copy_(differences[0]), *differences[1:]])
    torch.copysign(torch.ones(()), sign.add_(0.0), out=sign)
    divisor.zero_()
    for difference, weight in zip(differences, weights, strict=True):
        difference.mul_(sign).relu_()
        divisor.add_(torch.sign(difference, out=part).mul_(weight))
        difference.mul_(weight)
    return add_up(differences).mul_(sign).div_(divisor.clamp_(min=_TINY))


def _active(parts: list[Tensor], spare: list[Tensor], epsilon: float) -> tuple[list[Tensor], Tensor]:
    """The differences from the base, the last part, that are beyond ±epsilon, and how many each element has."""
    counts, part = spare
    counts.zero_()
    differences = [torch.hardshrink(part.sub_(parts[-1]), epsilon, out=part) for part in parts[:-1]]
    for difference in differences:
        counts.add_(torch.sign(difference, out=part).abs_())
    return differences, counts


def _contributions(tensors: list[Tensor], base: Tensor, epsilon: float) -> list[tuple[int, int]]:
    """For each source, how many of its differences beyond ±epsilon it shares with others, and how many it does not."""
    found = np.zeros((len(tensors), 2), dtype=np.int64)
    for _, parts in segments([*tensors, base], spare=2):
        differences, counts = _active(parts[: len(tensors) + 1], parts[len(tensors) + 1 :], epsilon)
        alone = (counts == 1).numpy()
        for row, difference in enumerate(differences):
            active = difference.numpy() != 0
            unshared = int(np.count_nonzero(active & alone))
            found[row] += (int(np.count_nonzero(active)) - unshared, unshared)
    return [(int(shared), int(unshared)) for shared, unshared in found]

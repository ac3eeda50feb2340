"""Merge methods as functions of tensors, summing in float32 to bits that depend on nothing but the inputs.

Products and sums are kernels of their own, for whether torch's `add` with a factor rounds once or twice is up
to the processor. Sums over a tensor go by rows of fixed length, for torch splits a long sum among threads.
Everything goes by segments that stay in the processor's cache: memory is read and written once.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

_COLINEAR = 0.9995  # above this |cosine| the sines are too small to divide by
_TINY_NORM = 1e-8
_ROW = 1 << 14  # elements; torch sums a row of this length in one thread
_SEGMENT = _ROW << 4  # elements


@dataclass(frozen=True)
class Draw:
    """What DARE's random numbers depend on: the recipe's seed, the tensor's name and each source's name."""

    seed: int
    tensor_name: str
    sources: tuple[str, ...]

    def generator(self, source: int) -> torch.Generator:
        """A source's generator, keyed by SHA-256 of (seed, tensor name, source).

        So the draw is the same in any order, process or device. Recipes that differ only in density share
        their random numbers.
        """
        key = "\0".join((str(self.seed), self.tensor_name, self.sources[source]))
        digest = hashlib.sha256(key.encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True)
class Inputs:
    """One tensor's inputs: a value per source for each parameter ("t" has one), in the order of the sources.

    load: source's index → its tensor in any floating dtype. A source that counts for nothing is never loaded.
    load_base: the base's tensor.
    dtype: of the merged tensor, which is rounded once.
    """

    values: Mapping[str, tuple[float, ...]]
    load: Callable[[int], Tensor]
    load_base: Callable[[], Tensor]
    draw: Draw
    dtype: torch.dtype


MergeFunction = Callable[[Inputs], Tensor]
Thin = Callable[[Tensor], Tensor]  # one source's thinning out, given its difference segment by segment


def linear(inputs: Inputs) -> Tensor:
    """Σ wᵢ xᵢ / Σ wᵢ. A single source with a weight comes back bit for bit."""
    weights = inputs.values["weight"]
    used, total = _used(weights), math.fsum(weights)
    shares = [weights[source] / total for source in used]
    return _by_segment(
        [inputs.load(source) for source in used],
        inputs.dtype,
        lambda parts: _sum([part * share for part, share in zip(parts, shares, strict=True)]),
    )


def slerp(inputs: Inputs) -> Tensor:
    """Spherical interpolation of the whole tensor as one vector, t = 0 the first source and t = 1 the second.

    (sin((1-t)θ) x + sin(tθ) y) / sin θ, θ the angle between x and y (Shoemake 1985); linear where they are
    nearly colinear. x and y themselves are not normalised.
    """
    (t,) = inputs.values["t"]
    if t in (0, 1):
        return _by_segment([inputs.load(int(t))], inputs.dtype, lambda parts: parts[0])
    x, y = inputs.load(0), inputs.load(1)
    cosine = _cosine(x, y)
    share_x, share_y = 1 - t, t
    if abs(cosine) <= _COLINEAR:
        angle = math.acos(cosine)
        share_x, share_y = (math.sin(share * angle) / math.sin(angle) for share in (share_x, share_y))
    return _by_segment([x, y], inputs.dtype, lambda parts: _sum([parts[0] * share_x, parts[1] * share_y]))


def task_arithmetic(inputs: Inputs) -> Tensor:
    """b + Σ wᵢ (xᵢ - b) (Ilharco et al. 2023)."""
    return _merge_differences(inputs, lambda _: _keep_all, _sum)


def dare_linear(inputs: Inputs) -> Tensor:
    """Task arithmetic on differences of which a random part dᵢ survives, scaled by 1/dᵢ (Yu et al. 2024)."""
    return _merge_differences(inputs, _dropper(inputs), _sum)


def ties(inputs: Inputs) -> Tensor:
    """Differences trimmed to their largest, then only what agrees with the elected sign (Yadav et al. 2023).

    A part dᵢ of each difference is kept. The weighted ones that agree are summed, not averaged: the weights
    carry the scale.
    """
    return _merge_differences(inputs, _trimmer(inputs), _elect)


def dare_ties(inputs: Inputs) -> Tensor:
    """TIES' election on differences thinned out as DARE does."""
    return _merge_differences(inputs, _dropper(inputs), _elect)


MERGES: Mapping[str, MergeFunction] = MappingProxyType(
    {
        "linear": linear,
        "slerp": slerp,
        "task_arithmetic": task_arithmetic,
        "ties": ties,
        "dare_linear": dare_linear,
        "dare_ties": dare_ties,
    }
)


def _used(weights: Sequence[float]) -> list[int]:
    return [source for source, weight in enumerate(weights) if weight]


def _merge_differences(
    inputs: Inputs, thinner: Callable[[int], Thin], combine: Callable[[list[Tensor]], Tensor]
) -> Tensor:
    """b + combine(wᵢ · thinᵢ(xᵢ - b) of each source that has a weight); thinner: source's index → thinᵢ."""
    weights = inputs.values["weight"]
    used = [(source, thinner(source), weights[source]) for source in _used(weights)]

    def merge(parts: Sequence[Tensor]) -> Tensor:
        base, *sources = parts
        differences = [thin(part - base).mul_(weight) for part, (_, thin, weight) in zip(sources, used, strict=True)]
        return combine(differences).add_(base) if differences else base

    return _by_segment([inputs.load_base(), *(inputs.load(source) for source, *_ in used)], inputs.dtype, merge)


def _elect(differences: list[Tensor]) -> Tensor:
    """Sum what has the sign of the sum of all, element by element; a sum of zero counts as positive."""
    positive = _sum([differences[0].clone(), *differences[1:]]) >= 0
    return _sum([difference.where((difference > 0) == positive, 0) for difference in differences])


def _keep_all(difference: Tensor) -> Tensor:
    return difference


def _dropper(inputs: Inputs) -> Callable[[int], Thin]:
    """DARE's thinning out: each element survives with probability dᵢ, and is then scaled by 1/dᵢ."""

    def of_source(source: int) -> Thin:
        density = inputs.values["density"][source]
        if density == 1:
            return _keep_all
        generator = inputs.draw.generator(source)

        def drop(difference: Tensor) -> Tensor:
            survives = torch.rand(difference.shape, generator=generator) < density
            return difference.where(survives, 0).mul_(1 / density)

        return drop

    return of_source


def _trimmer(inputs: Inputs) -> Callable[[int], Thin]:
    """TIES' thinning out: the int(dᵢ · n) elements of largest magnitude, at least one; of equals the first."""

    def of_source(source: int) -> Thin:
        base, tensor = inputs.load_base(), inputs.load(source)
        count = tensor.numel()
        kept = max(1, int(inputs.values["density"][source] * count))
        if kept >= count:
            return _keep_all
        magnitudes = _by_segment([base, tensor], torch.float32, lambda parts: (parts[1] - parts[0]).abs_())
        flat = magnitudes.view(-1).numpy()
        flat.partition(count - kept)
        threshold = float(flat[count - kept])
        equals_left = kept - int((flat[count - kept :] > threshold).sum())

        def trim(difference: Tensor) -> Tensor:
            nonlocal equals_left
            magnitude = difference.abs()
            largest = magnitude > threshold
            if equals_left:
                equals = (magnitude == threshold).nonzero().view(-1)[:equals_left]
                equals_left -= len(equals)
                largest[equals] = True
            return difference.where(largest, 0)

        return trim

    return of_source


def _by_segment(tensors: Sequence[Tensor], dtype: torch.dtype, merge: Callable[[Sequence[Tensor]], Tensor]) -> Tensor:
    """Merge equally shaped tensors flat, segment by segment in order, into a new one of `dtype`.

    merge: gets a float32 segment of each, which it must not write to (it may be the source's own memory).
    """
    merged = torch.empty(tensors[0].shape, dtype=dtype)
    segments = (torch.split(tensor.reshape(-1), _SEGMENT) for tensor in (merged, *tensors))
    for target, *parts in zip(*segments, strict=True):
        target.copy_(merge([part.to(torch.float32) for part in parts]))
    return merged


def _sum(terms: list[Tensor]) -> Tensor:
    """The terms added up from left to right, in the first one's memory."""
    for term in terms[1:]:
        terms[0].add_(term)
    return terms[0]


def _cosine(x: Tensor, y: Tensor) -> float:
    """Cosine of the angle between two tensors as vectors; a vanishing one is not normalised, hence at 90°."""
    norms = [norm if (norm := math.sqrt(_dot(vector, vector))) > _TINY_NORM else 1.0 for vector in (x, y)]
    return max(-1.0, min(1.0, _dot(x, y) / norms[0] / norms[1]))


def _dot(x: Tensor, y: Tensor) -> float:
    """Scalar product, summed in float64 in an order that does not depend on the number of threads."""
    total = 0.0
    for left, right in zip(*(torch.split(vector.reshape(-1), _SEGMENT) for vector in (x, y)), strict=True):
        products = left.to(torch.float32) * right.to(torch.float32)
        whole = len(products) - len(products) % _ROW
        total += float(products[:whole].view(-1, _ROW).sum(dim=1, dtype=torch.float64).sum())
        total += float(products[whole:].sum(dtype=torch.float64))
    return total

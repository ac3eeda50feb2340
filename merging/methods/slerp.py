"""Spherical interpolation between two models: along the arc between them, rather than straight."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from merging.specs.method import OFF, ON, RATIO, SHARE, Customary, GeneRange, Method, Parameter
from merging.specs.search import Between, ByRatio

if TYPE_CHECKING:
    from torch import Tensor

    from merging.kernels.inputs import Inputs
    from merging.kernels.products import Matrix, Vector

_COLINEAR = 0.9995  # above this |cosine| slerp is linear: the sines are too small to divide by
_PARALLEL = 1e-12  # below this squared sine nuslerp is linear
_TINY_LENGTH = 1e-8
_NO_SUM = 1e-6


def slerp(inputs: Inputs) -> Tensor:
    """Spherical interpolation of the whole tensor as one vector, t = 0 the first source and t = 1 the second.

    (sin((1-t)θ) x + sin(tθ) y) / sin θ, θ the angle between x and y (Shoemake 1985); linear where they are
    nearly colinear. x and y themselves are not normalised.
    """
    from merging.kernels.products import gram
    from merging.kernels.sums import weighted_sum

    t = inputs.shared("t")
    if t in (0, 1):
        return weighted_sum(inputs, {int(t): 1.0})
    products = gram(inputs, (0, 1))
    # A vanishing vector has no direction: it counts as one at 90°.
    lengths = [length if (length := math.sqrt(products[one, one])) > _TINY_LENGTH else 1.0 for one in (0, 1)]
    cosine = max(-1.0, min(1.0, products[0, 1] / lengths[0] / lengths[1]))
    if abs(cosine) > _COLINEAR:
        return weighted_sum(inputs, {0: 1 - t, 1: t})
    angle = math.acos(cosine)
    return weighted_sum(
        inputs, {0: math.sin((1 - t) * angle) / math.sin(angle), 1: math.sin(t * angle) / math.sin(angle)}
    )


def nuslerp(inputs: Inputs) -> Tensor:
    """b + (sin((1-t)θ) x + sin(tθ) y) / sin θ, x and y the sources' differences from the base b (mergekit's NuSLERP).

    Without a base they are the sources themselves. That is slerp (Shoemake 1985) with t = w₂ / (w₁ + w₂), one half
    where that sum vanishes. Whole tensors are the vectors (`nuslerp_flatten`), else those along the last dimension,
    or along the first (`nuslerp_row_wise`). Linear only where the vectors are parallel or opposite; mergekit decides
    that in float32, where a cosine next to -1 may round either way.
    """
    from merging.kernels.products import column_gram, gram, row_gram
    from merging.kernels.sums import weighted_sum

    weights = inputs.values["weight"]
    whole = math.fsum(weights)
    t = 0.5 if abs(whole) < _NO_SUM else weights[1] / whole
    if t in (0, 1):
        return weighted_sum(inputs, {int(t): 1.0})
    if inputs.shared("nuslerp_flatten"):
        first, second = _arc(gram(inputs, (0, 1)), t)
        found = {0: float(first), 1: float(second)}
        return weighted_sum(inputs, found, of_differences=inputs.load_base is not None)
    tensors = [inputs.load(0), inputs.load(1)]
    down = bool(inputs.shared("nuslerp_row_wise")) and tensors[0].dim() > 1
    factors = _arc((column_gram if down else row_gram)(inputs, (0, 1)), t)
    return _sum_by_vector(inputs, tensors, factors, down=down)


def _arc(products: Matrix, t: float) -> tuple[Vector, Vector]:
    """Slerp's factors of two vectors (or of many pairs of them) from their scalar products."""
    import numpy as np

    lengths = [np.maximum(np.sqrt(products[one, one]), 1e-7) for one in (0, 1)]
    cosine = np.clip(products[0, 1] / lengths[0] / lengths[1], -1, 1)
    linear = 1 - cosine**2 <= _PARALLEL
    angle = np.arccos(np.where(linear, 0.0, cosine))
    sine = np.sin(angle)
    return np.where(linear, 1 - t, np.sin((1 - t) * angle) / sine), np.where(linear, t, np.sin(t * angle) / sine)


def _sum_by_vector(inputs: Inputs, tensors: list[Tensor], factors: tuple[Vector, Vector], *, down: bool) -> Tensor:
    """Σ fᵢ xᵢ with factors for each vector along the last dimension, or along the first (down)."""
    import torch

    from merging.kernels.segments import merge_by_segment, rows_of, width_of

    width = width_of(tensors[0], down=down)
    shape = (1, -1) if down else (-1, 1)
    first, second = (torch.from_numpy(factor).float().view(shape) for factor in factors)

    def merge(parts: list[Tensor], _: list[Tensor], start: int) -> Tensor:
        base = parts[2] if len(parts) == 3 else None
        count = len(parts[0]) // width
        here = slice(None) if down else slice(start // width, start // width + count)
        for part, factor in zip(parts[:2], (first, second), strict=True):
            if base is not None:
                part.sub_(base)
            part.view(-1, width).mul_(factor[here])
        parts[0].add_(parts[1])
        return parts[0] if base is None else parts[0].add_(base)

    origins = tensors if inputs.load_base is None else [*tensors, inputs.load_base()]
    return merge_by_segment(inputs, origins, merge, segment=rows_of(width))


METHODS = (
    Method(
        name="slerp",
        sentence="a spherical interpolation between the two sources, from the first (t = 0) to the second (t = 1)",
        formula=slerp,
        parameters={"t": Parameter(allowed=SHARE, gene=GeneRange(0, 1))},
        base="first",
        search=Between(reaches_second=True),
        customary=Customary("slerp halfway", {"t": 0.5}),
        min_sources=2,
        max_sources=2,
    ),
    Method(
        name="nuslerp",
        sentence="a spherical interpolation between the two sources, by the ratio of their weights (NuSLERP)",
        formula=nuslerp,
        parameters={"weight": RATIO, "nuslerp_row_wise": OFF, "nuslerp_flatten": ON},
        base="optional",
        search=ByRatio(),
        customary=Customary("nuslerp halfway", {"weight": 1.0}),
        min_sources=2,
        max_sources=2,
    ),
)

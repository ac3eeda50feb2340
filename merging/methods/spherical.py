"""Methods that go along the surface of a sphere: directions are averaged, and lengths apart from them.

All of them come to Σ cᵢ xᵢ with factors cᵢ that follow from the scalar products of the tensors. These are found in
one pass, in float64, and every iteration works on them alone.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from merging.errors import MergingError
from merging.methods.inputs import Inputs
from merging.methods.products import Matrix, column_gram, gram, row_gram
from merging.methods.segments import by_segment, rows_of, width_of
from merging.methods.sums import weighted_sum

_COLINEAR = 0.9995  # above this |cosine| slerp is linear: the sines are too small to divide by
_PARALLEL = 1e-12  # below this squared sine nuslerp is linear
_TINY_LENGTH = 1e-8
_NO_SUM = 1e-6

Factors = NDArray[np.float64]


def slerp(inputs: Inputs) -> Tensor:
    """Spherical interpolation of the whole tensor as one vector, t = 0 the first source and t = 1 the second.

    (sin((1-t)θ) x + sin(tθ) y) / sin θ, θ the angle between x and y (Shoemake 1985); linear where they are
    nearly colinear. x and y themselves are not normalised.
    """
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
    weights = inputs.values["weight"]
    whole = math.fsum(weights)
    t = 0.5 if abs(whole) < _NO_SUM else weights[1] / whole
    if t in (0, 1):
        return weighted_sum(inputs, {int(t): 1.0})
    of_differences = inputs.load_base is not None
    if inputs.shared("nuslerp_flatten"):
        first, second = _arc(gram(inputs, (0, 1)), t)
        return weighted_sum(inputs, {0: float(first), 1: float(second)}, of_differences=of_differences)
    tensors = [inputs.load(0), inputs.load(1)]
    down = bool(inputs.shared("nuslerp_row_wise")) and tensors[0].dim() > 1
    factors = _arc((column_gram if down else row_gram)(inputs, (0, 1)), t)
    return _mixed_by_vector(inputs, tensors, factors, down=down)


def multislerp(inputs: Inputs) -> Tensor:
    """|x| · m / |m| with m = Σ wᵢ xᵢ / |xᵢ| and |x| = Σ wᵢ |xᵢ|, of differences from a base if there is one.

    Goddard's Multi-SLERP goes to the tangent space at m / |m|, averages there and comes back by the exponential
    map. But the tangents at the mean of the directions sum to nothing, so it is that mean, given the weighted
    mean length. `eps` is added to each length; weights are divided by their sum unless `normalize_weights` is off, and
    where none is given then, there is no difference at all.
    """
    given = {source: weight for source, weight in enumerate(inputs.values["weight"]) if weight}
    sources, eps = tuple(given), inputs.shared("eps")
    if len(inputs.values["weight"]) == 1 or (len(sources) == 1 and inputs.shared("normalize_weights")):
        return weighted_sum(inputs, dict.fromkeys(sources or (0,), 1.0))
    if not sources:
        return weighted_sum(inputs, {0: 0.0}, of_differences=inputs.load_base is not None)
    weights = np.array(list(given.values()))
    weights = weights / weights.sum() if inputs.shared("normalize_weights") else weights
    products = gram(inputs, sources)
    lengths = np.sqrt(np.diag(products))
    factors = weights / (lengths + eps)
    length = math.sqrt(max(0.0, factors @ products @ factors))
    if length >= eps and length > 0:
        factors = factors / length * float(lengths @ weights)
    elif len(sources) == 2 or not products.any():  # what vanishes everywhere has no direction, and needs none
        factors = weights
    else:
        name = inputs.draw.tensor_name
        raise MergingError(f"tensor {name}: parameters.weight: the directions cancel out: use other weights")
    found = dict(zip(sources, map(float, factors), strict=True))
    return weighted_sum(inputs, found, of_differences=inputs.load_base is not None)


def karcher(inputs: Inputs) -> Tensor:
    """The Karcher mean of the directions xᵢ / |xᵢ|, all alike, given the mean length (Karcher 1977).

    The point c of the sphere from which Σ log_c(uᵢ) vanishes, by at most `max_iter` steps
    c ← exp_c(Σ αᵢ θᵢ / sin θᵢ (uᵢ - cos θᵢ c)), fewer if one is shorter than `tol`.
    """
    sources = tuple(range(len(inputs.draw.sources)))
    if len(sources) == 1:
        return weighted_sum(inputs, {0: 1.0})
    products, tol = gram(inputs, sources), inputs.shared("tol")
    lengths = np.sqrt(np.diag(products))
    valid = [source for source in sources if lengths[source] > tol]
    if not valid:
        return weighted_sum(inputs, dict.fromkeys(sources, 0.0))
    cosines = products[np.ix_(valid, valid)] / np.outer(lengths[valid], lengths[valid])
    mean = _karcher_mean(cosines, int(inputs.shared("max_iter")), tol)
    factors = mean / lengths[valid] * lengths.mean()
    return weighted_sum(inputs, dict(zip(valid, map(float, factors), strict=True)))


def _karcher_mean(cosines: Matrix, max_iter: int, tol: float) -> Factors:
    """The mean's coordinates in unit vectors with these cosines between them."""

    def length(vector: Factors) -> float:
        return math.sqrt(max(0.0, float(vector @ cosines @ vector)))

    share = 1 / len(cosines)
    mean = np.full(len(cosines), share)
    mean = np.eye(len(cosines))[0] if length(mean) < tol else mean / length(mean)
    for _ in range(max_iter):
        dots = np.clip(cosines @ mean, -1, 1)
        angles = np.arccos(dots)
        far = angles >= tol
        pulls = np.where(far, share * angles / np.where(far, np.sin(angles), 1.0), 0.0)
        tangent = pulls - (pulls @ dots) * mean
        step = length(tangent)
        if step < tol:
            break
        mean = math.cos(step) * mean + math.sin(step) * tangent / step
        mean = mean / length(mean)
    return mean


def _arc(products: Matrix, t: float) -> tuple[Factors, Factors]:
    """Slerp's factors of two vectors (or of many pairs of them) from their scalar products."""
    lengths = [np.maximum(np.sqrt(products[one, one]), 1e-7) for one in (0, 1)]
    cosine = np.clip(products[0, 1] / lengths[0] / lengths[1], -1, 1)
    linear = 1 - cosine**2 <= _PARALLEL
    angle = np.arccos(np.where(linear, 0.0, cosine))
    sine = np.sin(angle)
    return np.where(linear, 1 - t, np.sin((1 - t) * angle) / sine), np.where(linear, t, np.sin(t * angle) / sine)


def _mixed_by_vector(inputs: Inputs, tensors: list[Tensor], factors: tuple[Factors, Factors], *, down: bool) -> Tensor:
    """Σ fᵢ xᵢ with factors for each vector along the last dimension, or along the first (down)."""
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
    return by_segment(inputs, origins, merge, segment=rows_of(width))

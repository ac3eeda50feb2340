"""Intervals and paired tests for item scores. Standard library and numpy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError

Array = NDArray[np.float64]

RESAMPLES = 9_999
BLOCK = 2_000_000  # random numbers drawn at a time: 16 MB


@dataclass(frozen=True)
class Interval:
    """A mean of `n` values with its confidence limits."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Paired:
    """Mean of a - b over the same items, its confidence limits, and the one-sided p that a is not better."""

    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Stratum:
    """The item values of one task of a skill, higher being better; weights of a skill add up to 1."""

    weight: float
    items: tuple[str, ...]
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the items."""
        return math.fsum(self.values) / len(self.values)


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Score interval of a proportion (Wilson 1927).

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n): it stays inside [0, 1], and has a width at 0 and n.
    """
    if not 0 <= successes <= n or n < 1:
        raise EvaluationError(f"{successes} successes of {n}: an interval needs 0 <= successes <= n and n >= 1")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    reach = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At the ends the limit is the end exactly; only rounding could put it beside.
    low = 0.0 if successes == 0 else centre - reach
    high = 1.0 if successes == n else centre + reach
    return Interval(p, low, high, n)


def bootstrap_interval(
    values: Sequence[float], seed: int, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """Percentile bootstrap of the mean (Efron 1979): quantiles of means of samples drawn with replacement.

    Values that are all equal give an interval of no width.
    """
    data = _array(values)
    means = np.empty(resamples)
    rng = np.random.default_rng(seed)
    rows = max(1, BLOCK // len(data))
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        means[start:stop] = data[rng.integers(len(data), size=(stop - start, len(data)))].mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(data.mean()), float(low), float(high), len(data))


def interval(values: Sequence[float], seed: int, confidence: float = 0.95) -> Interval:
    """Wilson's interval if every value is 0 or 1, else the bootstrap's."""
    if _binary(_array(values)):
        return wilson(int(sum(values)), len(values), confidence)
    return bootstrap_interval(values, seed, confidence)


def skill_interval(strata: Sequence[Stratum], seed: int, confidence: float = 0.95) -> Interval:
    """Interval of a skill: of its weighted mean over tasks of item means."""
    parts = [interval(stratum.values, seed, confidence) for stratum in strata]
    return _combine([(s.weight, part) for s, part in zip(strata, parts, strict=True)])


def paired_better(a: Sequence[float], b: Sequence[float], seed: int, confidence: float = 0.95) -> Paired:
    """Is `a` better than `b` on the same items? `a[i]` and `b[i]` are two models' values of item i.

    0/1 values: exact one-sided McNemar test, limits by Newcombe's paired method. Otherwise a sign-flip
    permutation test (valid if the differences are symmetric when neither is better) and the bootstrap's
    limits.
    """
    if len(a) != len(b):
        raise EvaluationError(f"{len(a)} values against {len(b)}: a paired test needs the same items twice")
    x, y = _array(a), _array(b)
    limits = _difference_limits(x, y, seed, confidence)
    if _binary(x) and _binary(y):
        p_value = _mcnemar(int(((x == 1) & (y == 0)).sum()), int(((x == 0) & (y == 1)).sum()))
    else:
        p_value = _sign_flip((x - y) / len(x), seed)
    return Paired(limits.mean, limits.low, limits.high, p_value)


def skill_paired_better(a: Sequence[Stratum], b: Sequence[Stratum], seed: int, confidence: float = 0.95) -> Paired:
    """`paired_better` for a whole skill; with several tasks the permutation test is on the weighted mean."""
    if [(s.weight, s.items) for s in a] != [(s.weight, s.items) for s in b]:
        raise EvaluationError("two models were scored on different items; score both with the same exam")
    if len(a) == 1:
        return paired_better(a[0].values, b[0].values, seed, confidence)
    pairs = [(s.weight, _array(s.values), _array(t.values)) for s, t in zip(a, b, strict=True)]
    limits = _combine([(weight, _difference_limits(x, y, seed, confidence)) for weight, x, y in pairs])
    p_value = _sign_flip(np.concatenate([weight * (x - y) / len(x) for weight, x, y in pairs]), seed)
    return Paired(limits.mean, limits.low, limits.high, p_value)


def holm(p_values: Sequence[float], alpha: float) -> tuple[bool, ...]:
    """Which hypotheses are rejected with the chance of any false rejection at most alpha (Holm 1979).

    The k-th smallest of m p-values is held against alpha / (m - k + 1); the first that fails stops the rest.
    """
    rejected = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[index] > alpha / (len(p_values) - rank):
            break
        rejected[index] = True
    return tuple(rejected)


def _combine(parts: Sequence[tuple[float, Interval]]) -> Interval:
    """Limits of Σ w θ from limits of each independent θ, by the MOVER (Zou & Donner 2008).

    low = Σ w θ - √Σ w²(θ - l)², high = Σ w θ + √Σ w²(u - θ)².
    """
    mean = math.fsum(weight * part.mean for weight, part in parts)
    below = math.sqrt(math.fsum((weight * (part.mean - part.low)) ** 2 for weight, part in parts))
    above = math.sqrt(math.fsum((weight * (part.high - part.mean)) ** 2 for weight, part in parts))
    return Interval(mean, mean - below, mean + above, sum(part.n for _, part in parts))


def _difference_limits(x: Array, y: Array, seed: int, confidence: float) -> Interval:
    if _binary(x) and _binary(y):
        return _newcombe(x, y, confidence)
    return bootstrap_interval((x - y).tolist(), seed, confidence)


def _newcombe(x: Array, y: Array, confidence: float) -> Interval:
    """Limits of the difference of two paired proportions (Newcombe 1998, method 10).

    The Wilson limits (l1, u1), (l2, u2) of both are joined as in `_combine`, less the covariance
    2 φ (p1 - l1)(u2 - p2), with φ the correlation of the fourfold table, its numerator continuity-corrected.
    """
    n = len(x)
    both, only_x = int((x * y).sum()), int((x * (1 - y)).sum())
    only_y = int(((1 - x) * y).sum())
    neither = n - both - only_x - only_y
    one, two = wilson(both + only_x, n, confidence), wilson(both + only_y, n, confidence)
    product = both * neither - only_x * only_y
    cross = max(product - n / 2, 0.0) if product > 0 else float(product)
    margins = (both + only_x) * (only_y + neither) * (both + only_y) * (only_x + neither)
    phi = cross / math.sqrt(margins) if margins else 0.0
    difference = (only_x - only_y) / n
    below, above = _joined(one, two, phi), _joined(two, one, phi)
    return Interval(difference, difference - below, difference + above, n)


def _joined(falls: Interval, rises: Interval, phi: float) -> float:
    """How far `falls - rises` may lie below its estimate."""
    down, up = falls.mean - falls.low, rises.high - rises.mean
    return math.sqrt(max(down * down - 2 * phi * down * up + up * up, 0.0))


def _mcnemar(wins: int, losses: int) -> float:
    """P(X >= wins), X ~ Binomial(wins + losses, 1/2): only items that one of the two solved tell."""
    n = wins + losses
    return float(sum(math.comb(n, k) for k in range(wins, n + 1)) / 2**n)


def _sign_flip(contributions: Array, seed: int) -> float:
    """Share of random sign patterns whose sum reaches the observed one, the observed one counted in."""
    told = contributions[contributions != 0]
    if not len(told):
        return 1.0
    observed = told.sum()
    # Equal sums may differ by rounding with the order of addition; they count as reached.
    bar = observed - 1e-12 * np.abs(told).sum()
    rng = np.random.default_rng(seed)
    reached, rows = 0, max(1, BLOCK // len(told))
    for start in range(0, RESAMPLES, rows):
        signs = rng.integers(0, 2, size=(min(rows, RESAMPLES - start), len(told)), dtype=np.int8)
        reached += int((((2 * signs - 1) @ told) >= bar).sum())
    return (1 + reached) / (1 + RESAMPLES)


def _array(values: Sequence[float] | Array) -> Array:
    data = np.asarray(values, dtype=np.float64)
    if not len(data):
        raise EvaluationError("no values: an interval or a test needs at least one item")
    if not np.isfinite(data).all():
        raise EvaluationError("a value is not a finite number; failed answers must be refused, not averaged")
    return data


def _binary(data: Array) -> bool:
    return bool(((data == 0) | (data == 1)).all())

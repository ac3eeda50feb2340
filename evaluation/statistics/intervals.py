"""Confidence intervals of item scores and of their paired differences. Standard library and numpy only.

Every interval is about the mean over all items of the same kind that could have been asked, not only over these.
Scores that are right or wrong: Wilson's interval for a rate, Tango's for the difference of two models on the same
items; both hold for few items and for rates near 0 and 1, where the bootstrap fails. Graded scores: the bootstrap, of
the paired differences where two models are compared. A skill of several tasks: the limits of each task, combined.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError
from evaluation.statistics.values import Interval, Stratum

Array = NDArray[np.float64]

RESAMPLES = 9_999
BLOCK = 2_000_000
"""Random numbers drawn at a time: 16 MB."""

_HALVINGS = 40


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Score interval of a proportion (Wilson 1927).

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n): it stays inside [0, 1], and has a width at 0 and n.
    """
    if not 0 <= successes <= n or n < 1:
        raise EvaluationError(f"{successes} successes of {n}: an interval needs 0 <= successes <= n and n >= 1")
    z = _z(confidence)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    reach = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At 0 and n successes one limit is exactly 0 or 1; computed, it could be off by a rounding error.
    low = 0.0 if successes == 0 else centre - reach
    high = 1.0 if successes == n else centre + reach
    return Interval(p, low, high, n)


def tango(wins: int, losses: int, n: int, confidence: float = 0.95) -> Interval:
    """Score interval of a difference of two paired proportions (Tango 1998).

    Of `n` items `wins` were solved by the first model alone, `losses` by the second alone. The limits are the
    differences Δ at which the score test stops rejecting: (wins - losses - nΔ) / √(n (2q + Δ(1 - Δ))) = ±z, with q
    the likeliest share of losses under Δ. At Δ = 0 this is McNemar's test, so interval and test agree.
    """
    if min(wins, losses) < 0 or not 0 < n >= wins + losses:
        raise EvaluationError(f"{wins} wins and {losses} losses of {n}: counts must add up to at most n >= 1")
    low = -_furthest(losses, wins, n, _z(confidence))
    return Interval((wins - losses) / n, low, _furthest(wins, losses, n, _z(confidence)), n)


def _furthest(wins: int, losses: int, n: int, z: float) -> float:
    """The largest difference that is not rejected, by bisection: the score falls as the difference grows."""
    inside, outside = (wins - losses) / n, 1.0
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        if _score(middle, wins, losses, n) >= -z:
            inside = middle
        else:
            outside = middle
    return inside


def _score(delta: float, wins: int, losses: int, n: int) -> float:
    """Tango's score statistic of a true difference below 1; q solves 2n q² + b q + c = 0."""
    b = (2 * n - wins + losses) * delta - wins - losses
    c = -losses * delta * (1 - delta)
    q = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    variance = n * (2 * q + delta * (1 - delta))
    return (wins - losses - n * delta) / math.sqrt(variance) if variance > 0 else 0.0


def bootstrap_interval(
    values: Sequence[float] | Array, seed: int, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """Percentile bootstrap of the mean (Efron 1979): quantiles of means of samples drawn with replacement.

    The resampled means are spread by √(n/(n-1)), because they vary around the sample's mean, not around the true one
    (Hesterberg 2015). Values that are all equal give an interval of no width.
    """
    data = to_array(values)
    means = np.empty(resamples)
    rng = np.random.default_rng(seed)
    rows = max(1, BLOCK // len(data))
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        means[start:stop] = data[rng.integers(len(data), size=(stop - start, len(data)))].mean(axis=1)
    mean = float(data.mean())
    spread = math.sqrt(len(data) / max(len(data) - 1, 1))
    tail = (1 - confidence) / 2
    low, high = mean + spread * (np.quantile(means, [tail, 1 - tail]) - mean)
    return Interval(mean, float(low), float(high), len(data))


def score_interval(values: Sequence[float], seed: int, confidence: float = 0.95) -> Interval:
    """Wilson's interval if every value is 0 or 1, else the bootstrap's."""
    data = to_array(values)
    if is_binary(data):
        return wilson(int(data.sum()), len(data), confidence)
    return bootstrap_interval(data, seed, confidence)


def difference_interval(a: Array, b: Array, seed: int, confidence: float = 0.95) -> Interval:
    """Interval of the mean of a - b over the same items: Tango's for 0/1 values, else the paired bootstrap's."""
    if is_binary(a) and is_binary(b):
        return tango(int((a > b).sum()), int((a < b).sum()), len(a), confidence)
    return bootstrap_interval(a - b, seed, confidence)


def skill_interval(strata: Sequence[Stratum], seed: int, confidence: float = 0.95) -> Interval:
    """Interval of a skill: of its weighted mean over tasks of item means."""
    return combine_intervals(strata, [score_interval(stratum.values, seed, confidence) for stratum in strata])


def combine_intervals(strata: Sequence[Stratum], parts: Sequence[Interval]) -> Interval:
    """Limits of Σ w θ from the limits of each stratum's θ, by the MOVER for dependent ones (Zou & Donner 2008).

    low = Σ w θ - √ΣΣ rᵢⱼ bᵢ bⱼ with b = w (θ - l) and r the correlation of two strata's means; high likewise. Strata
    are correlated if they share items, as two metrics of one task do.
    """
    if len(parts) == 1 and strata[0].weight == 1:
        return parts[0]
    weights = np.array([[stratum.weight] for stratum in strata])
    reaches = weights * [[part.mean - part.low, part.high - part.mean] for part in parts]
    alike = np.array([[1.0 if a is b else _correlation(a, b) for b in strata] for a in strata])
    # Correlations estimated pair by pair need not form a valid matrix, so that the sum could be below 0.
    below, above = np.sqrt(np.maximum(0.0, np.sum(reaches * (alike @ reaches), axis=0))).tolist()
    mean = math.fsum(stratum.weight * part.mean for stratum, part in zip(strata, parts, strict=True))
    return Interval(mean, mean - below, mean + above, len({item for stratum in strata for item in stratum.items}))


def _correlation(a: Stratum, b: Stratum) -> float:
    """Correlation of the means of two strata: that of their shared items, times the share of items that are shared.

    If values are all equal, their correlation is unknown and taken to be 1, which gives the wider interval.
    """
    theirs = dict(zip(b.items, b.values, strict=True))
    both = np.array([(v, theirs[item]) for item, v in zip(a.items, a.values, strict=True) if item in theirs])
    if not len(both):
        return 0.0
    share = len(both) / math.sqrt(len(a.items) * len(b.items))
    return share * float(np.corrcoef(both.T)[0, 1]) if np.ptp(both, axis=0).all() else share


def to_array(values: Sequence[float] | Array) -> Array:
    """Item values as an array. Raises EvaluationError if there are none, or one is not a finite number."""
    data = np.asarray(values, dtype=np.float64)
    if not len(data):
        raise EvaluationError("no values: an interval or a test needs at least one item")
    if not np.isfinite(data).all():
        raise EvaluationError("a value is not a finite number; failed answers must be refused, not averaged")
    return data


def is_binary(data: Array) -> bool:
    """Whether every value is 0 or 1: right or wrong."""
    return bool(((data == 0) | (data == 1)).all())


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf(0.5 + confidence / 2)

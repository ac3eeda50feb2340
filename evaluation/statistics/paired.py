"""Paired tests of item scores, and the correction for many of them. Standard library and numpy only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.errors import EvaluationError
from evaluation.statistics.intervals import BLOCK, Array, Stratum, array, combine, difference_interval

ENOUGH_REACHED = 500
MOST_PATTERNS = 19_999
_PATTERNS_AT_ONCE = 4_096


@dataclass(frozen=True)
class Paired:
    """Mean of a - b over the same items, its confidence limits, and the one-sided p that a is not better."""

    difference: float
    low: float
    high: float
    p_value: float


def paired_better(a: Sequence[float], b: Sequence[float], seed: int, confidence: float = 0.95) -> Paired:
    """Is `a` better than `b` on the same items? `a[i]` and `b[i]` are two models' values of item i.

    0/1 values: McNemar's test in its exact form, limits by Tango's method. Otherwise a sign-flip permutation test
    (valid if the differences are symmetric when neither is better) and the paired bootstrap's limits.
    """
    return skill_paired_better([_only(a)], [_only(b)], seed, confidence)


def skill_paired_better(a: Sequence[Stratum], b: Sequence[Stratum], seed: int, confidence: float = 0.95) -> Paired:
    """`paired_better` for a whole skill; with several tasks the permutation test is on the weighted mean.

    An item that several of the tasks ask about has one sign: its answers come from the same two models at once.
    """
    _check_same_items(a, b)
    pairs = [(array(s.values), array(t.values)) for s, t in zip(a, b, strict=True)]
    leads = [Stratum(s.weight, s.items, tuple((x - y).tolist())) for s, (x, y) in zip(a, pairs, strict=True)]
    limits = combine(leads, [difference_interval(x, y, seed, confidence) for x, y in pairs])
    return Paired(limits.mean, limits.low, limits.high, _sign_flip(_by_item(leads), seed))


def _by_item(strata: Sequence[Stratum]) -> Array:
    """What each item adds to the weighted mean, in all strata together."""
    totals: dict[str, float] = defaultdict(float)
    for stratum in strata:
        for item, value in zip(stratum.items, stratum.values, strict=True):
            totals[item] += stratum.weight * value / len(stratum.values)
    return np.array(list(totals.values()))


def skill_paired_p_value(a: Sequence[Stratum], b: Sequence[Stratum], seed: int) -> float:
    """Two-sided p of "a and b are equally good": twice the smaller of both one-sided ones."""
    one_sided = min(skill_paired_better(a, b, seed).p_value, skill_paired_better(b, a, seed).p_value)
    return min(1.0, 2 * one_sided)


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


def mcnemar(wins: int, losses: int) -> float:
    """P(X >= wins), X ~ Binomial(wins + losses, 1/2): only items that one of the two solved tell (McNemar 1947)."""
    n = wins + losses
    reached = ways = 1
    for k in range(n - wins):  # from "all n" down to "wins of n": C(n, k + 1) from C(n, k)
        ways = ways * (n - k) // (k + 1)
        reached += ways
    return float(reached / 2**n)


def _sign_flip(contributions: Array, seed: int) -> float:
    """How often a random pattern of signs gives a sum as high as the observed one.

    Where all that is not zero is of one size, as right or wrong items of one task are, that is McNemar's exact test.
    Patterns are drawn until `ENOUGH_REACHED` sums were as high (p = that number / patterns drawn), else
    `MOST_PATTERNS` times (p = (reached + 1) / (drawn + 1)): a valid p-value that is precise where it is small
    (Besag & Clifford 1991).
    """
    told = contributions[contributions != 0]
    if not len(told):
        return 1.0
    if np.ptp(np.abs(told)) <= 1e-12 * np.abs(told).max():
        return mcnemar(int((told > 0).sum()), int((told < 0).sum()))
    # Equal sums may differ by rounding with the order of addition; they count as reached.
    bar = told.sum() - 1e-12 * np.abs(told).sum()
    rng = np.random.default_rng(seed)
    reached = drawn = 0
    while drawn < MOST_PATTERNS:
        rows = min(_PATTERNS_AT_ONCE, max(1, BLOCK // len(told)), MOST_PATTERNS - drawn)
        signs = rng.integers(0, 2, size=(rows, len(told)), dtype=np.int8).astype(np.float64)
        high = np.flatnonzero((2 * (signs @ told) - told.sum()) >= bar)
        if reached + len(high) >= ENOUGH_REACHED:
            return ENOUGH_REACHED / (drawn + int(high[ENOUGH_REACHED - reached - 1]) + 1)
        reached, drawn = reached + len(high), drawn + rows
    return (reached + 1) / (drawn + 1)


def _check_same_items(a: Sequence[Stratum], b: Sequence[Stratum]) -> None:
    if [(s.weight, s.items) for s in a] != [(s.weight, s.items) for s in b]:
        sizes = [sum(len(stratum.values) for stratum in strata) for strata in (a, b)]
        raise EvaluationError(
            f"two models were scored on different items ({sizes[0]} values against {sizes[1]}); "
            "score both with the same exam"
        )


def _only(values: Sequence[float]) -> Stratum:
    return Stratum(1.0, tuple(map(str, range(len(values)))), tuple(values))

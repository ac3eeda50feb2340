"""Paired tests of item scores, and the correction for many of them. Standard library and numpy only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from evaluation.errors import EvaluationError
from evaluation.statistics.intervals import BLOCK, Array, combine_intervals, difference_interval, to_array
from evaluation.statistics.values import PairedDifference, Stratum

ENOUGH_REACHED = 500
MOST_PATTERNS = 19_999
_PATTERNS_AT_ONCE = 4_096


def paired_difference(
    a: Sequence[Stratum], b: Sequence[Stratum], seed: int, confidence: float = 0.95
) -> PairedDifference:
    """The difference between models `a` and `b` at a skill, from their values of the same items, task by task.

    One task with 0/1 values: McNemar's test in its exact form, limits by Tango's method. Otherwise a sign-flip
    permutation test of the weighted mean (valid if the differences are symmetric when neither is better), and the
    combined limits of the tasks. An item that several tasks use gets one sign: its answers come from the same two
    models. Raises EvaluationError if the items differ.
    """
    _check_same_items(a, b)
    pairs = [(to_array(s.values), to_array(t.values)) for s, t in zip(a, b, strict=True)]
    differences = [Stratum(s.weight, s.items, tuple((x - y).tolist())) for s, (x, y) in zip(a, pairs, strict=True)]
    limits = combine_intervals(differences, [difference_interval(x, y, seed, confidence) for x, y in pairs])
    contributions = _by_item(differences)
    better, worse = _sign_flip(contributions, seed), _sign_flip(-contributions, seed)
    return PairedDifference(
        limits.mean, limits.low, limits.high, limits.n, better, two_sided=min(1.0, 2 * min(better, worse))
    )


def _by_item(strata: Sequence[Stratum]) -> Array:
    """Each item's contribution to the weighted mean, over all strata."""
    totals: dict[str, float] = defaultdict(float)
    for stratum in strata:
        for item, value in zip(stratum.items, stratum.values, strict=True):
            totals[item] += stratum.weight * value / len(stratum.values)
    return np.array(list(totals.values()))


def holm(p_values: Sequence[float], alpha: float) -> tuple[bool, ...]:
    """Decide which hypotheses to reject, so that any is rejected falsely with probability at most `alpha` (Holm 1979).

    From the smallest p-value on, each is rejected if it is within its threshold; the first that is not ends it.
    """
    thresholds = holm_thresholds(p_values, alpha)
    rejected = [False] * len(p_values)
    for index in _ascending(p_values):
        if p_values[index] > thresholds[index]:
            break
        rejected[index] = True
    return tuple(rejected)


def holm_thresholds(p_values: Sequence[float], alpha: float) -> tuple[float, ...]:
    """The threshold of each p-value in Holm's method: alpha / (m - k + 1) for the k-th smallest of m."""
    thresholds = [0.0] * len(p_values)
    for rank, index in enumerate(_ascending(p_values)):
        thresholds[index] = alpha / (len(p_values) - rank)
    return tuple(thresholds)


def _ascending(p_values: Sequence[float]) -> list[int]:
    return sorted(range(len(p_values)), key=lambda index: p_values[index])


def mcnemar(wins: int, losses: int) -> float:
    """P(X >= wins), X ~ Binomial(wins + losses, 1/2): only items that one of the two solved count (McNemar 1947)."""
    n = wins + losses
    reached = ways = 1
    for k in range(n - wins):  # from "n of n" down to "wins of n", with C(n, k + 1) made from C(n, k)
        ways = ways * (n - k) // (k + 1)
        reached += ways
    return float(reached / 2**n)


def _sign_flip(contributions: Array, seed: int) -> float:
    """p-value: how often a random pattern of signs gives a sum as high as the observed one.

    If all contributions but zeros have one size, as right or wrong items of one task do, this is McNemar's exact test.
    Patterns are drawn until `ENOUGH_REACHED` sums were as high (p = that number / patterns drawn), else
    `MOST_PATTERNS` times (p = (reached + 1) / (drawn + 1)): a valid p-value that is precise where it is small
    (Besag & Clifford 1991).
    """
    nonzero = contributions[contributions != 0]
    if not len(nonzero):
        return 1.0
    if np.ptp(np.abs(nonzero)) <= 1e-12 * np.abs(nonzero).max():
        return mcnemar(int((nonzero > 0).sum()), int((nonzero < 0).sum()))
    # Sums that are equal may differ by a rounding error, because they are added in another order; they count.
    bar = nonzero.sum() - 1e-12 * np.abs(nonzero).sum()
    rng = np.random.default_rng(seed)
    reached = drawn = 0
    while drawn < MOST_PATTERNS:
        rows = min(_PATTERNS_AT_ONCE, max(1, BLOCK // len(nonzero)), MOST_PATTERNS - drawn)
        signs = rng.integers(0, 2, size=(rows, len(nonzero)), dtype=np.int8).astype(np.float64)
        high = np.flatnonzero((2 * (signs @ nonzero) - nonzero.sum()) >= bar)
        if reached + len(high) >= ENOUGH_REACHED:
            return ENOUGH_REACHED / (drawn + int(high[ENOUGH_REACHED - reached - 1]) + 1)
        reached, drawn = reached + len(high), drawn + rows
    return (reached + 1) / (drawn + 1)


def _check_same_items(a: Sequence[Stratum], b: Sequence[Stratum]) -> None:
    if [(s.weight, s.items) for s in a] != [(s.weight, s.items) for s in b]:
        sizes = [sum(len(stratum.values) for stratum in strata) for strata in (a, b)]
        raise EvaluationError(
            f"two models were scored on different items ({sizes[0]} values against {sizes[1]}); "
            "score both on the same evaluation set"
        )

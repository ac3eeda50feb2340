"""Power: what a number of items can show, known before any is asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from evaluation.errors import EvaluationError
from evaluation.statistics.paired import MOST_PATTERNS

MOST_DISCORDANT = 0.5
"""Share of items that one of two models solves and the other does not, if nothing is known of them.

Models of equal strength that answer independently differ on 2p(1 - p) of the items, at most on half. A merge and its
sources are kin and differ on fewer, so this share errs on the side of caution.
"""

POWER = 0.8


def detectable_difference(
    items: float, alpha: float, discordant: float = MOST_DISCORDANT, power: float = POWER
) -> float | None:
    """The smallest true difference (0 to 1) that a paired one-sided test at level `alpha` shows with this power.

    For McNemar's test, whose variance is ψ under no difference and ψ - δ² under a difference δ, with ψ the share of
    `discordant` items (Miettinen 1968; Connor 1987), and with the continuity correction 1/n that approximates the exact
    test:

        δ √n = a + z_β √(ψ - δ²),  a = z_α √ψ + 1/√n
        δ = (a √n + z_β √(ψ (n + z_β²) - a²)) / (n + z_β²)

    None if no difference can be shown: even if one model won all discordant items, the power would not be reached.
    """
    if items <= 0 or not 0 < alpha < 1 or not 0 < discordant <= 1 or not 0.5 <= power < 1:
        raise EvaluationError(
            f"items {items}, alpha {alpha}, discordant {discordant}, power {power}: give items above 0, shares between "
            "0 and 1, and a power of at least 0.5"
        )
    z_alpha, z_beta = NormalDist().inv_cdf(1 - alpha), NormalDist().inv_cdf(power)
    bar = z_alpha * math.sqrt(discordant) + 1 / math.sqrt(items)
    inner = discordant * (items + z_beta**2) - bar**2
    if inner < 0:
        return None
    difference = (bar * math.sqrt(items) + z_beta * math.sqrt(inner)) / (items + z_beta**2)
    return difference if difference < discordant else None


def lead_by_luck(items: float, candidates: int, discordant: float = MOST_DISCORDANT) -> float:
    """Expected lead of the best of equally good candidates over their true score, by chance alone.

    Two that differ on a share ψ of the items have scores whose difference has the variance ψ / n, so each varies by
    ψ / 2n about what they share. The largest of N normal values is Φ⁻¹((N - 0.375) / (N + 0.25)) deviations above the
    mean (Blom 1958).
    """
    deviation = math.sqrt(discordant / (2 * items))
    return NormalDist().inv_cdf((candidates - 0.375) / (candidates + 0.25)) * deviation if candidates > 1 else 0.0


def effective_items(weights: Sequence[float], items: Sequence[int]) -> float:
    """Number of items of one task that are worth those of several in a weighted mean: 1 / Σ (w² / n), with Σ w = 1."""
    total = math.fsum(weights)
    return 1 / math.fsum((weight / total) ** 2 / count for weight, count in zip(weights, items, strict=True))


def smallest_p_value(weights: Sequence[float], items: Sequence[int]) -> float:
    """The p-value of a model that wins every item of a skill: no test of these items gives a smaller one.

    weights, items: of each task. One sign pattern of 2ⁿ is as extreme; if the items weigh differently, patterns are
    drawn, and a drawn p-value has a floor.
    """
    sizes = [weight / count for weight, count in zip(weights, items, strict=True)]
    drawn = max(sizes) - min(sizes) > 1e-12 * max(sizes)
    return max(2.0 ** -sum(items), 1 / (MOST_PATTERNS + 1) if drawn else 0.0)


def identical_limit(weights: Sequence[float], items: Sequence[int], confidence: float) -> float:
    """One-sided lower limit of the difference of two models that answer every item of a skill alike; not above 0.

    Tango's for no discordant item, -z² / (n + z²), of each task; those of several tasks, combined. weights, items: of
    each task, which share no items.
    """
    z, total = NormalDist().inv_cdf(confidence), math.fsum(weights)
    reaches = (weight / total * z * z / (count + z * z) for weight, count in zip(weights, items, strict=True))
    return -math.hypot(*reaches)


def chance_to_keep(items: float, drop: float, alpha: float, discordant: float = MOST_DISCORDANT) -> float:
    """Probability that a model as good as the reference is shown to be less than `drop` below it, at level `alpha`."""
    return NormalDist().cdf(drop * math.sqrt(items / discordant) - NormalDist().inv_cdf(1 - alpha))


def items_to_keep(drop: float, alpha: float, discordant: float = MOST_DISCORDANT, power: float = POWER) -> int:
    """Number of items at which `chance_to_keep` is this power: (z_α + z_β)² ψ / δ²."""
    z = NormalDist().inv_cdf(1 - alpha) + NormalDist().inv_cdf(power)
    return math.ceil(z * z * discordant / drop**2)


def drop_to_keep(items: float, alpha: float, discordant: float = MOST_DISCORDANT, power: float = POWER) -> float:
    """The drop at which `chance_to_keep` is this power: (z_α + z_β) √(ψ / n)."""
    return (NormalDist().inv_cdf(1 - alpha) + NormalDist().inv_cdf(power)) * math.sqrt(discordant / items)

"""Merges that a person rejected are not offered again by a later cycle of the same watchlist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bot.ledger.decisions import ReviewDecision
from bot.search.results import GateResult


def refuse_rejected(
    gate_results: Sequence[GateResult], rejected: Mapping[str, ReviewDecision]
) -> tuple[GateResult, ...]:
    """The gate's results, with those refused that a person rejected. rejected: decisions by recipe digest."""

    def refuse(result: GateResult) -> GateResult:
        decision = rejected.get(result.recipe)
        if decision is None or not result.passed:
            return result
        return replace(result, passed=False, reason=f"{decision.describe()} (cycle {decision.cycle})")

    return tuple(map(refuse, gate_results))

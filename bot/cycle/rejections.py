"""Merges that a person rejected are not offered again by a later cycle of the same watchlist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from bot.cycle.context import CycleContext
from bot.cycle.past.pull_requests import settle_pull_requests
from bot.ledger.decisions import ReviewDecision
from bot.ledger.pull_requests import cycles_with_pull_requests
from bot.search.results import GateResult


def look_up_pull_requests(context: CycleContext) -> None:
    """Take over what people did on the Hub with the pull requests of the watchlist's earlier cycles."""
    ledger, hub, narrator = context.ledger, context.hub, context.narrator
    for cycle in cycles_with_pull_requests(ledger, datetime.now(UTC), context.watchlist.name):
        if ledger.kept(cycle, "hub", str) == hub.endpoint:
            for fault in settle_pull_requests(ledger, context.home, hub, cycle, narrator):
                narrator.say(f"warning: {fault}")


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

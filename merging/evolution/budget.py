"""A search's budget of full scorings and of time, and what is left of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from merging.evolution.outcomes import Scored, SearchSettings


@dataclass(frozen=True)
class Budget:
    """The rest of a budget, in full scorings.

    each: expected cost of a candidate.
    candidates: number of candidates that it allows at that cost; 0 ends the search.
    spent_message: the reason to give once it is spent.
    """

    left: float
    each: float
    candidates: int
    spent_message: str


def remaining_budget(settings: SearchSettings, scored: Sequence[Scored]) -> Budget:
    """The rest of the budget.

    Time and shares are forecast from the mean so far, so that a batch is cut rather than the limit overrun; the
    candidates that were cut come next if they turn out to be affordable after all. Before the first outcome there is
    nothing to forecast from, so the first generation is scored whole.
    """
    message = f"the budget of {settings.candidates} candidates is spent"
    spent, count = sum_shares(scored), sum(one.outcome.share > 0 for one in scored)
    left = settings.candidates - spent
    seconds = sum(one.outcome.seconds for one in scored)
    if settings.minutes is not None and seconds and spent:
        in_time = (settings.minutes * 60 - seconds) * spent / seconds
        if in_time < left:
            left, message = in_time, f"the budget of {settings.minutes:g} minutes is spent"
    # Rounded, or the last bit of a sum of shares would decide.
    allowed = max(0, math.floor(round(left * count / spent, 6) if spent else left))
    return Budget(left, spent / count if spent else 1.0, allowed, message)


def sum_shares(scored: Sequence[Scored]) -> float:
    """The part of the budget that recipes have used, in full scorings."""
    return math.fsum(one.outcome.share for one in scored)

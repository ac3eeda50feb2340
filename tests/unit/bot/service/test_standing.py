"""Why a watchlist does nothing, in words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bot.ledger.ledger import Cycle, State
from bot.service.facts.standing import ScheduleSnapshot, explain_state, explain_watchlist

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
NAMES = frozenset({"small"})


def cycle(state: State, note: str = "the Hub is down") -> Cycle:
    return Cycle("small-1", "small", 1, "d", state, note, NOON, NOON)


@pytest.mark.parametrize(
    ("fault", "newest", "running", "schedule", "said"),
    [
        (None, None, None, ScheduleSnapshot(NAMES), "It has not run yet."),
        (None, cycle(State.RUNNING), "small", ScheduleSnapshot(NAMES), "A cycle is running."),
        (None, None, "other", ScheduleSnapshot(NAMES, waiting=("small",)), "waits until the cycle of other ends."),
        (None, None, None, ScheduleSnapshot(NAMES, waiting=("small",)), "It is due and begins now."),
        ("no skills", None, None, ScheduleSnapshot(), "Its file cannot be used: no skills"),
        ("no skills", None, None, ScheduleSnapshot(NAMES), "the schedule uses it as it was before."),
        (None, cycle(State.NOTHING), None, ScheduleSnapshot(NAMES, NAMES), "It is paused: it runs only when it is"),
        (None, cycle(State.FAILED), None, ScheduleSnapshot(NAMES), "Its cycle failed: the Hub is down."),
        (
            None,
            cycle(State.FAILED),
            None,
            ScheduleSnapshot(NAMES, retries={"small": NOON}),
            "Its cycle failed: the Hub is down. It is tried again at 2026-11-26 12:00.",
        ),
        (None, cycle(State.UNCHANGED), None, ScheduleSnapshot(NAMES), "are those of an earlier cycle"),
        (None, cycle(State.NOTHING), None, ScheduleSnapshot(NAMES), "No merge beat every baseline"),
    ],
)
def test_it_says_what_a_watchlist_waits_for(
    fault: str | None, newest: Cycle | None, running: str | None, schedule: ScheduleSnapshot, said: str
) -> None:
    assert said in explain_watchlist("small", fault, newest, running, schedule)


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_meaning(state: State) -> None:
    assert explain_state(cycle(state)).endswith(".")

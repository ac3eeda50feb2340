"""When a state is saved, and whether a home may go on from it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.ledger.snapshot import EMPTY_MARK, LedgerMark
from bot.service.schedule_times import ScheduleTimes, missed_names, paused_names
from bot.service.state.keeper import LONGEST_UNSAVED, HomeState, Progress, goes_on, is_due
from bot.service.state.repo import StateHead, StateManifest, describe_process

AT_FIRST, LATER = LedgerMark("a", 10), LedgerMark("b", 10)
SCORED = LedgerMark("a", 11)


@pytest.mark.parametrize(
    ("mark", "times", "seconds", "due"),
    [
        (AT_FIRST, {}, 1e9, False),
        (LATER, {}, 0, True),
        (AT_FIRST, {"small": None}, 0, True),
        (SCORED, {}, LONGEST_UNSAVED - 1, False),
        (SCORED, {}, LONGEST_UNSAVED, True),
    ],
)
def test_stages_and_pauses_are_saved_at_once_and_scores_after_a_while(
    mark: LedgerMark, times: ScheduleTimes, seconds: float, due: bool
) -> None:
    assert is_due(Progress(mark, times), Progress(AT_FIRST, {}), seconds) is due


def head(commit: str = "c1", session: str = "s1", *files: str) -> StateHead:
    return StateHead(commit, StateManifest(1, session, 3, "ada", "2026-11-26", "0.2.0"), frozenset(files))


KEPT = HomeState("reef/state", "s1", "c1", AT_FIRST, edits={"edits/card": "1"})
FILLED = ("c2", "s2", "ledger.sqlite")


@pytest.mark.parametrize(
    ("kept", "mark", "newest", "edits", "verdict"),
    [
        (None, EMPTY_MARK, head(*FILLED), {}, False),  # an empty home takes the state
        (None, AT_FIRST, head("c0", "s0"), {}, True),  # an empty state takes the home
        (None, AT_FIRST, head(*FILLED), {}, None),  # both have something
        (HomeState("reef/other", "s1", "c2", AT_FIRST), AT_FIRST, head(*FILLED), {}, None),
        (KEPT, SCORED, head("c1", "s9", "ledger.sqlite"), {}, True),  # nobody committed since
        (KEPT, SCORED, head("c9", "s1", "ledger.sqlite"), {}, True),  # it was this home's own session
        (KEPT, AT_FIRST, head(*FILLED), {}, False),  # somebody did, and here is nothing new
        (KEPT, SCORED, head(*FILLED), {}, None),  # and here is something new, too
        (KEPT, AT_FIRST, head(*FILLED), {"edits/card": "1"}, False),  # an edit that was saved
        (KEPT, AT_FIRST, head(*FILLED), {"edits/card": "2"}, None),  # another one, that was not
        (replace(KEPT, restored=AT_FIRST), AT_FIRST, head(*FILLED), {"edits/card": "2"}, False),  # killed on its way
    ],
)
def test_a_home_with_something_of_its_own_is_never_overwritten(
    kept: HomeState | None, mark: LedgerMark, newest: StateHead, edits: dict[str, str], verdict: bool | None
) -> None:
    assert goes_on(kept, mark, newest, "reef/state", edits) is verdict


def test_a_process_is_named_by_where_it_runs() -> None:
    assert describe_process({"SPACE_ID": "reef/bot"}) == "the Space reef/bot"
    assert describe_process({"JOB_ID": "687fb7"}) == "the Job 687fb7"
    assert "process" in describe_process({})


def test_times_tell_what_was_missed_and_what_is_paused() -> None:
    times = {"late": 10.0, "early": 30.0, "paused": None}
    assert (missed_names(times, 20.0), paused_names(times)) == ({"late"}, {"paused"})

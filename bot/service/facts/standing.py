"""Why a watchlist does what it does, or nothing: sentences for the page, from what the schedule and the ledger say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from bot.cycle.history import CyclePage
from bot.ledger.ledger import Cycle, State
from bot.ledger.run_requests import RunRequest

_MEANINGS: Mapping[State, str] = {
    State.REVIEW: "Releases wait for a person to publish or reject them.",
    State.PUBLISHED: "What passed the gate is on the Hub.",
    State.REJECTED: "A person rejected every release; their recipes are not offered again.",
    State.WRITTEN: "Publishing is off in the watchlist, so the releases stay on this machine.",
    State.NOTHING: "No merge beat every baseline in some skill, so none is published: see the gate's reasons. "
    "More validation items show smaller leads; a larger budget or other sources find larger ones.",
    State.UNCHANGED: "Sources, tasks and watchlist are those of an earlier cycle, whose result stands. "
    "There is something to do again when one of them changes.",
    State.ABANDONED: "The watchlist was edited before the cycle was done; a new cycle took its scores over.",
    State.FAILED: "It goes on where it stopped as soon as it is run again.",
    State.RUNNING: "It is under way, or was interrupted: then it goes on where it stopped.",
}


@dataclass(frozen=True)
class ScheduleSnapshot:
    """What a schedule is about to do, by watchlists' names.

    waiting: those that are due, while another's cycle runs, in their order. retries: when failed ones are tried again.
    asked: the requests of people to run one at once.
    """

    names: frozenset[str] = frozenset()
    paused: frozenset[str] = frozenset()
    waiting: tuple[str, ...] = ()
    retries: Mapping[str, datetime] = field(default_factory=dict)
    asked: Mapping[str, RunRequest] = field(default_factory=dict)


def explain_watchlist(
    name: str, fault: str | None, newest: Cycle | None, running: str | None, schedule: ScheduleSnapshot
) -> str:
    """What a watchlist is waiting for, or how its newest cycle ended.

    fault: why its file cannot be used. running: the name of the watchlist whose cycle runs now; None if none does.
    """
    if running == name:
        return "A cycle is running."
    if name in schedule.waiting:
        return f"It is due and waits until the cycle of {running} ends." if running else "It is due and begins now."
    if fault is not None:
        stays = "\nUntil that is mended, the schedule uses it as it was before." if name in schedule.names else ""
        return f"Its file cannot be used: {fault}{stays}"
    paused = " It is paused: it runs only when it is asked to." if name in schedule.paused else ""
    if newest is None:
        return f"It has not run yet.{paused}"
    if (again := schedule.retries.get(name)) is not None:
        return f"Its cycle failed: {newest.note}. It is tried again at {again:%Y-%m-%d %H:%M}.{paused}"
    if newest.state is State.FAILED:
        return f"Its cycle failed: {newest.note}.{paused}"
    return f"{explain_state(newest)}{paused}"


def explain_state(cycle: Cycle) -> str:
    """What the state of a cycle means."""
    return _MEANINGS[cycle.state]


def list_steps(page: CyclePage) -> tuple[str, ...]:
    """What a cycle did and decided, in order: why it has the releases it has, or none."""
    steps = []
    if page.verdicts:
        taken = sum(verdict.accepted for verdict in page.verdicts)
        steps.append(
            f"{_count(len(page.verdicts), 'model')} looked at: {taken} taken, {len(page.verdicts) - taken} refused."
        )
    if page.audition is not None:
        rows = page.audition.rows
        steps.append(f"{_count(len(rows), 'model')} auditioned, {sum(row.chosen for row in rows)} chosen.")
    if page.recalled is not None:
        steps += [f"{line}." for line in page.recalled.describe()]
    if page.search is not None:
        search = page.search
        steps.append(
            f"{_count(search.candidates, 'candidate')} tried, {search.fully_scored} on all items, {search.failed} "
            f"failed; {_count(len(search.front), 'member')} on the front; {search.stopped}."
        )
    if page.gate_results:
        passed = sum(result.passed for result in page.gate_results)
        steps.append(f"{passed} of {_count(len(page.gate_results), 'front member')} passed the gate.")
    if page.releases:
        steps.append(
            f"{_count(len(page.releases), 'release')} written: {', '.join(one.role for one in page.releases)}."
        )
    return tuple(steps)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

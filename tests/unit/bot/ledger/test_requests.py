"""Requests that are made at the same moment, as a double click makes them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pytest

from bot.ledger.ledger import Ledger
from bot.ledger.requests import (
    RequestKind,
    make_requests,
    newest_requests,
    waiting_requests,
    withdraw_request,
)
from bot.ledger.run_requests import (
    SCHEDULE,
    make_run_request,
    runs_asked_for,
    settle_run_requests,
    waiting_runs,
    withdraw_run_request,
)
from bot.ledger.snapshot import read_mark
from bot.ledger.tables import RunRequestRow
from bot.ledger.webhook_calls import Wake, keep_wake

NOW = datetime(2026, 11, 26, tzinfo=UTC)
ROLES = [f"role {index}" for index in range(10)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with one cycle, w-1."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.begin("w", "d", NOW)
    ledger.close()
    return tmp_path / "ledger.sqlite"


def at_once(path: Path, ask: Callable[[Ledger, int, str], None]) -> None:
    """Ask for each of the roles in two threads at the same moment, each with a connection of its own."""
    ready = Barrier(2)

    def ask_all(person: int) -> None:
        ledger = Ledger(path)
        for role in ROLES:
            ready.wait(30)
            ask(ledger, person, role)
        ledger.close()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(ask_all, range(2)))


def test_requests_that_are_made_at_the_same_moment_are_one_and_withdrawn_as_one(path: Path) -> None:
    def ask(ledger: Ledger, person: int, role: str) -> None:
        kind = RequestKind.PUBLISH if person % 2 else RequestKind.REJECT
        make_requests(ledger, kind, "w-1", [role], note="a\n note", who=f"person {person}")

    at_once(path, ask)
    ledger = Ledger(path)
    assert [one.role for one in waiting_requests(ledger)] == ROLES
    shown = newest_requests(ledger, "w-1")
    assert shown == {one.role: one for one in waiting_requests(ledger)} and shown["role 0"].note == "a note"
    for one in shown.values():
        withdraw_request(ledger, one.id, "ann")
    assert waiting_requests(ledger) == ()
    make_requests(ledger, RequestKind.PUBLISH, "w-1", ROLES, note="", edits="d" * 64, over_changes=True, who="ann")
    assert [(one.role, one.who, one.edits, one.over_changes) for one in waiting_requests(ledger)] == [
        (role, "ann", "d" * 64, True) for role in ROLES
    ]
    ledger.close()


def test_runs_that_are_asked_for_at_the_same_moment_are_one(path: Path) -> None:
    at_once(path, lambda ledger, person, role: make_run_request(ledger, role, f"person {person}"))
    ledger = Ledger(path)
    assert [one.watchlist for one in waiting_runs(ledger)] == ROLES
    with ledger.transaction() as session:
        assert session.query(RunRequestRow).count() == len(ROLES)
    ledger.close()


def test_a_run_that_is_withdrawn_stays_due_by_its_schedule_until_a_cycle_begins(path: Path) -> None:
    ledger = Ledger(path)
    for who in ("ann", SCHEDULE, "bob", SCHEDULE):
        make_run_request(ledger, "w", who)
    assert [one.who for one in waiting_runs(ledger)] == ["ann", SCHEDULE] and runs_asked_for(ledger)["w"].who == "ann"
    assert withdraw_run_request(ledger, "w", "bob") and not withdraw_run_request(ledger, "w", "bob")
    assert [one.who for one in waiting_runs(ledger)] == [SCHEDULE] and runs_asked_for(ledger) == {}
    settle_run_requests(ledger, "other")
    assert len(waiting_runs(ledger)) == 1
    settle_run_requests(ledger, "w")
    assert waiting_runs(ledger) == ()
    ledger.close()


def test_what_is_to_be_run_is_part_of_the_mark_of_a_ledger(path: Path) -> None:
    ledger = Ledger(path)
    marks = [read_mark(path)]
    for change in (
        lambda: make_run_request(ledger, "w", "ann"),
        lambda: withdraw_run_request(ledger, "w", "ann"),
        lambda: keep_wake(ledger, Wake("w", "reef/model", NOW, NOW)),
        lambda: keep_wake(ledger, Wake("w", "reef/model", NOW, NOW, newest_cycle=1)),
    ):
        change()
        marks.append(read_mark(path))
    ledger.close()
    assert len(set(marks)) == len(marks)

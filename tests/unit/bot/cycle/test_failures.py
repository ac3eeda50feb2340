"""What the ledger says of a cycle that ends in an error."""

from __future__ import annotations

import errno
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import event

from bot.cycle.context import CycleContext
from bot.errors import ShoalError
from bot.home import Home
from bot.hub.answers.failures import HubUnavailable
from bot.hub.client import Hub
from bot.ledger.ledger import Ledger, State
from evaluation.errors import EvaluationError
from fixtures.cycles import Listener, small_watchlist

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def context(tmp_path: Path) -> CycleContext:
    ledger, watchlist = Ledger(tmp_path / "ledger.sqlite"), small_watchlist()
    cycle = ledger.begin(watchlist.name, watchlist.digest, NOON)
    return CycleContext(watchlist, Home(tmp_path), cast("Hub", None), ledger, Listener(), cycle)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (HubUnavailable("hub: down; try again later"), "hub: down; try again later"),
        (EvaluationError("tasks: got 'x':\n  its data is missing"), "tasks: got 'x': its data is missing"),
        (OSError(errno.ENOSPC, "No space left", "/x"), "/x: No space left; free some space and run the command again"),
        (KeyError("oops"), "a bug in shoal: KeyError: 'oops'; please report it"),
    ],
)
def test_a_cycle_that_ends_in_an_error_has_failed_for_its_reason_in_one_line(
    context: CycleContext, error: Exception, reason: str
) -> None:
    with pytest.raises(type(error)), context.failure_recorded():
        raise error
    cycle = context.ledger.cycle(context.cycle.id)
    assert (cycle.state, cycle.note) == (State.FAILED, reason)
    assert cycle.finished is not None and cycle.finished > NOON


def test_an_interrupted_cycle_has_not_failed(context: CycleContext) -> None:
    with pytest.raises(KeyboardInterrupt), context.failure_recorded():
        raise KeyboardInterrupt
    assert context.ledger.cycle(context.cycle.id) == context.cycle


def test_where_the_ledger_cannot_be_written_the_first_error_is_the_one_that_is_reported(context: CycleContext) -> None:
    @event.listens_for(context.ledger._engine, "begin")
    def read_only(connection):  # type: ignore[no-untyped-def]
        connection.exec_driver_sql("PRAGMA query_only = ON")

    with pytest.raises(ShoalError, match="the disk is full"), context.failure_recorded():
        raise ShoalError("the disk is full")
    event.remove(context.ledger._engine, "begin", read_only)
    assert context.ledger.cycle(context.cycle.id).state is State.RUNNING

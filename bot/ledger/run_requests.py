"""The part of the ledger that is about runs: the watchlists that are to be run, until a cycle of theirs begins.

A run is asked for by a person, or by its schedule when its time has come. Here, neither a crash nor a new machine loses
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, select, update

from bot.ledger.ledger import Ledger
from bot.ledger.requests import RequestState, insert_unless
from bot.ledger.tables import RunRequestRow

SCHEDULE = ""
"""Who asks for a run whose time has come."""


@dataclass(frozen=True)
class RunRequest:
    """A request to run a watchlist as soon as no other cycle runs. who: a person, or SCHEDULE."""

    watchlist: str
    who: str
    made: datetime


def make_run_request(ledger: Ledger, watchlist: str, who: str) -> None:
    """Ask for a watchlist to be run. What waits already, for a person or for the schedule, is not asked twice."""
    made = datetime.now(UTC).isoformat()
    values = {"watchlist": watchlist, "who": who, "made": made, "state": RequestState.WAITING, "outcome": ""}
    waits = _waits_for(watchlist) & ((RunRequestRow.who == SCHEDULE) == (who == SCHEDULE))
    with ledger.transaction() as session:
        session.execute(insert_unless(waits, RunRequestRow, values))


def settle_run_requests(ledger: Ledger, watchlist: str) -> None:
    """Record that a cycle of a watchlist has begun: it answers all that asked for one."""
    change = update(RunRequestRow).where(_waits_for(watchlist)).values(state=RequestState.DONE)
    with ledger.transaction() as session:
        session.execute(change)


def withdraw_run_request(ledger: Ledger, watchlist: str, who: str) -> bool:
    """Withdraw what people asked for, and leave what the schedule did; whether there was something."""
    outcome = f"{who} withdrew it on {datetime.now(UTC):%Y-%m-%d %H:%M}"
    by_people = _waits_for(watchlist) & (RunRequestRow.who != SCHEDULE)
    change = update(RunRequestRow).where(by_people).values(state=RequestState.WITHDRAWN, outcome=outcome)
    with ledger.transaction() as session:
        return bool(session.execute(change.returning(RunRequestRow.id)).all())


def waiting_runs(ledger: Ledger) -> tuple[RunRequest, ...]:
    """The requests that wait, the oldest first."""
    query = select(RunRequestRow).where(RunRequestRow.state == RequestState.WAITING).order_by(RunRequestRow.id)
    with ledger.transaction() as session:
        return tuple(
            RunRequest(row.watchlist, row.who, datetime.fromisoformat(row.made)) for row in session.scalars(query)
        )


def runs_asked_for(ledger: Ledger) -> dict[str, RunRequest]:
    """Watchlist → the person's request that waits for it."""
    return {one.watchlist: one for one in waiting_runs(ledger) if one.who != SCHEDULE}


def _waits_for(watchlist: str) -> ColumnElement[bool]:
    return (RunRequestRow.watchlist == watchlist) & (RunRequestRow.state == RequestState.WAITING)

"""The part of the ledger that is about runs: which watchlists people asked to be run at once, until a cycle begins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, select, update

from bot.ledger.ledger import Ledger
from bot.ledger.requests import RequestState, insert_unless
from bot.ledger.tables import RunRequestRow


@dataclass(frozen=True)
class RunRequest:
    """A person's request to run a watchlist at once."""

    watchlist: str
    who: str
    made: datetime


def make_run_request(ledger: Ledger, watchlist: str, who: str) -> None:
    """Ask for a watchlist to be run. What waits already is not asked twice."""
    made = datetime.now(UTC).isoformat()
    values = {"watchlist": watchlist, "who": who, "made": made, "state": RequestState.WAITING, "outcome": ""}
    with ledger.transaction() as session:
        session.execute(insert_unless(_waits_for(watchlist), RunRequestRow, values))


def settle_run_request(ledger: Ledger, watchlist: str, state: RequestState, outcome: str = "") -> bool:
    """Record what became of the request that waits for a watchlist; whether there was one."""
    change = update(RunRequestRow).where(_waits_for(watchlist)).values(state=state, outcome=outcome)
    with ledger.transaction() as session:
        return bool(session.execute(change.returning(RunRequestRow.id)).all())


def waiting_runs(ledger: Ledger) -> dict[str, RunRequest]:
    """Watchlist → the request that waits for it, the oldest first."""
    query = select(RunRequestRow).where(RunRequestRow.state == RequestState.WAITING).order_by(RunRequestRow.id)
    with ledger.transaction() as session:
        return {
            row.watchlist: RunRequest(row.watchlist, row.who, datetime.fromisoformat(row.made))
            for row in session.scalars(query)
        }


def _waits_for(watchlist: str) -> ColumnElement[bool]:
    return (RunRequestRow.watchlist == watchlist) & (RunRequestRow.state == RequestState.WAITING)

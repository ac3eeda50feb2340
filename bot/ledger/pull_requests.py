"""The part of the ledger that is about pull requests: which release is offered in which, and whether that is over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.dialects.sqlite import insert

from bot.ledger.ledger import Ledger
from bot.ledger.tables import CycleRow, PullRequestRow

WATCHED = timedelta(days=30)
"""How long it is looked up whether a closed pull request was opened again, or merged."""


@dataclass(frozen=True)
class PullRequest:
    """A pull request on the Hub with the files of a release.

    recipe: the digest of the recipe that it offers. A cycle that is resumed may give the role another one.
    settled: it is merged, closed or gone, and the ledger has what became of the release. closed: when; None if it is
    open, or nothing more is to be looked up about it.
    """

    cycle: str
    role: str
    repo: str
    number: int
    recipe: str
    url: str
    opened: datetime
    settled: bool = False
    closed: datetime | None = None


def record_pull_request(ledger: Ledger, pull: PullRequest) -> None:
    """Record a pull request; an earlier one for the same release is replaced."""
    closed = pull.closed.isoformat() if pull.closed else None
    values = vars(pull) | {"opened": pull.opened.isoformat(), "closed": closed}
    statement = insert(PullRequestRow).values(values)
    with ledger.transaction() as session:
        session.execute(statement.on_conflict_do_update(index_elements=["cycle", "role"], set_=values))


def cycle_pull_requests(ledger: Ledger, cycle: str) -> dict[str, PullRequest]:
    """Role → the pull request that offers the release, for those of a cycle's that are not settled."""
    query = select(PullRequestRow).where(PullRequestRow.cycle == cycle, PullRequestRow.settled.is_(False))
    with ledger.transaction() as session:
        return {row.role: _pull_request(row) for row in session.scalars(query)}


def watched_pull_requests(ledger: Ledger, cycle: str, now: datetime) -> tuple[PullRequest, ...]:
    """Those of a cycle's about which the Hub is asked: not settled, or closed a short time ago. now: in UTC."""
    with ledger.transaction() as session:
        rows = session.scalars(select(PullRequestRow).where(PullRequestRow.cycle == cycle, _is_watched(now)))
        return tuple(map(_pull_request, rows))


def cycles_with_pull_requests(ledger: Ledger, now: datetime, watchlist: str | None = None) -> tuple[str, ...]:
    """The ids of the cycles, of a watchlist if one is named, with pull requests about which the Hub is asked."""
    query = select(PullRequestRow.cycle).where(_is_watched(now)).distinct()
    if watchlist is not None:
        query = query.join(CycleRow, CycleRow.id == PullRequestRow.cycle).where(CycleRow.watchlist == watchlist)
    with ledger.transaction() as session:
        return tuple(session.scalars(query.order_by(PullRequestRow.cycle)))


def _is_watched(now: datetime) -> ColumnElement[bool]:
    return or_(PullRequestRow.settled.is_(False), PullRequestRow.closed > (now - WATCHED).isoformat())


def _pull_request(row: PullRequestRow) -> PullRequest:
    opened, closed = datetime.fromisoformat(row.opened), datetime.fromisoformat(row.closed) if row.closed else None
    return PullRequest(row.cycle, row.role, row.repo, row.number, row.recipe, row.url, opened, row.settled, closed)

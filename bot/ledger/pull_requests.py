"""The part of the ledger that is about pull requests: which release is offered in which, and whether that is over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.dialects.sqlite import insert

from bot.ledger.ledger import Ledger
from bot.ledger.tables import CycleRow, PullRequestRow


@dataclass(frozen=True)
class PullRequest:
    """A pull request on the Hub with the files of a release.

    recipe: the digest of the recipe that it offers. A cycle that is resumed may give the role another one.
    settled: it is merged, closed or gone, and the ledger has what became of the release.
    """

    cycle: str
    role: str
    repo: str
    number: int
    recipe: str
    url: str
    opened: datetime
    settled: bool = False


def record_pull_request(ledger: Ledger, pull: PullRequest) -> None:
    """Record a pull request; an earlier one for the same release is replaced."""
    values = vars(pull) | {"opened": pull.opened.isoformat()}
    statement = insert(PullRequestRow).values(values)
    with ledger.transaction() as session:
        session.execute(statement.on_conflict_do_update(index_elements=["cycle", "role"], set_=values))


def settle_pull_request(ledger: Ledger, pull: PullRequest) -> None:
    """Record that nothing more is to be looked up about a pull request."""
    row = (PullRequestRow.cycle == pull.cycle) & (PullRequestRow.role == pull.role)
    with ledger.transaction() as session:
        session.execute(update(PullRequestRow).where(row).values(settled=True))


def cycle_pull_requests(ledger: Ledger, cycle: str) -> dict[str, PullRequest]:
    """Role → the pull request that offers the release, for those of a cycle's that are not settled."""
    query = select(PullRequestRow).where(PullRequestRow.cycle == cycle, PullRequestRow.settled.is_(False))
    with ledger.transaction() as session:
        return {row.role: _pull_request(row) for row in session.scalars(query)}


def cycles_with_pull_requests(ledger: Ledger, watchlist: str | None = None) -> tuple[str, ...]:
    """The ids of the cycles, of a watchlist if one is named, with pull requests that are not settled."""
    query = select(PullRequestRow.cycle).where(PullRequestRow.settled.is_(False)).distinct()
    if watchlist is not None:
        query = query.join(CycleRow, CycleRow.id == PullRequestRow.cycle).where(CycleRow.watchlist == watchlist)
    with ledger.transaction() as session:
        return tuple(session.scalars(query.order_by(PullRequestRow.cycle)))


def _pull_request(row: PullRequestRow) -> PullRequest:
    opened = datetime.fromisoformat(row.opened)
    return PullRequest(row.cycle, row.role, row.repo, row.number, row.recipe, row.url, opened, row.settled)

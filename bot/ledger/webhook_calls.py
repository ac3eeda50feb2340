"""The part of the ledger that is about the Hub's calls: what was told and decided, and which watchlists it woke."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, insert, select, union
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.orm import Session

from bot.ledger.ledger import Ledger
from bot.ledger.tables import CandidateRow, CycleRow, ReleaseRow, SourceRow, WakeRow, WebhookCallRow

KEPT_CALLS = 10_000
"""The newest calls that are remembered: a call that is older than these may wake a watchlist again."""


@dataclass(frozen=True)
class WebhookCall:
    """A call that was taken. key: equal for calls that tell the same. event, decision: a line each, for people."""

    key: str
    received: datetime
    event: str
    decision: str

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return {"received": self.received.isoformat(), "event": self.event, "decision": self.decision}


@dataclass(frozen=True)
class Wake:
    """A watchlist that was woken: by what, and when the first and the last call about it came.

    newest_cycle: the number of its newest cycle (0: none) when a run that answers the calls began; None before that.
    """

    watchlist: str
    cause: str
    first: datetime
    last: datetime
    newest_cycle: int | None = None


@dataclass(frozen=True)
class KnownRepos:
    """Repos that earlier cycles of a watchlist merged (or let audition), and all that they looked at."""

    sources: frozenset[str]
    candidates: frozenset[str]


def find_call(ledger: Ledger, key: str) -> WebhookCall | None:
    """The call with a key, if one was taken."""
    with ledger.transaction() as session:
        row = session.scalar(select(WebhookCallRow).where(WebhookCallRow.key == key))
        return None if row is None else _call(row)


def newest_call(ledger: Ledger) -> WebhookCall | None:
    """The call that was taken last."""
    with ledger.transaction() as session:
        row = session.scalar(select(WebhookCallRow).order_by(WebhookCallRow.id.desc()).limit(1))
        return None if row is None else _call(row)


def record_call(ledger: Ledger, call: WebhookCall, wakes: Iterable[Wake]) -> None:
    """Record a call and the watchlists that it woke: both or neither."""
    with ledger.transaction() as session:
        values = {**vars(call), "received": call.received.isoformat()}
        session.execute(insert(WebhookCallRow), [values])
        newest = session.scalar(select(func.max(WebhookCallRow.id))) or 0
        session.execute(delete(WebhookCallRow).where(WebhookCallRow.id <= newest - KEPT_CALLS))
        for wake in wakes:
            _keep_wake(session, wake)


def keep_wake(ledger: Ledger, wake: Wake) -> None:
    """Keep a woken watchlist; it replaces what was kept of it."""
    with ledger.transaction() as session:
        _keep_wake(session, wake)


def drop_wake(ledger: Ledger, watchlist: str) -> None:
    """Forget that a watchlist was woken."""
    with ledger.transaction() as session:
        session.execute(delete(WakeRow).where(WakeRow.watchlist == watchlist))


def kept_wakes(ledger: Ledger) -> tuple[Wake, ...]:
    """The watchlists that were woken, the longest waiting first."""
    with ledger.transaction() as session:
        return tuple(_wake(row) for row in session.scalars(select(WakeRow).order_by(WakeRow.first)))


def newest_number(ledger: Ledger, watchlist: str) -> int:
    """The number of a watchlist's newest cycle; 0 before the first."""
    with ledger.transaction() as session:
        return session.scalar(select(func.max(CycleRow.number)).where(CycleRow.watchlist == watchlist)) or 0


def known_repos(ledger: Ledger, watchlist: str) -> KnownRepos:
    """What all cycles of a watchlist have met."""
    cycles = select(CycleRow.id).where(CycleRow.watchlist == watchlist)
    sources = select(SourceRow.repo).where(SourceRow.cycle.in_(cycles))
    candidates = select(CandidateRow.repo).where(CandidateRow.cycle.in_(cycles))
    with ledger.transaction() as session:
        merged = frozenset(session.scalars(sources.distinct()))
        return KnownRepos(merged, frozenset(session.scalars(union(sources, candidates))))


def released_repos(ledger: Ledger) -> frozenset[str]:
    """The repos of the bot's own releases."""
    with ledger.transaction() as session:
        return frozenset(session.scalars(select(ReleaseRow.repo).distinct()))


def _keep_wake(session: Session, wake: Wake) -> None:
    values = {**vars(wake), "first": wake.first.isoformat(), "last": wake.last.isoformat()}
    session.execute(upsert(WakeRow).values(values).on_conflict_do_update(index_elements=["watchlist"], set_=values))


def _call(row: WebhookCallRow) -> WebhookCall:
    return WebhookCall(row.key, datetime.fromisoformat(row.received), row.event, row.decision)


def _wake(row: WakeRow) -> Wake:
    first, last = datetime.fromisoformat(row.first), datetime.fromisoformat(row.last)
    return Wake(row.watchlist, row.cause, first, last, row.newest_cycle)

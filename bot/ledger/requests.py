"""The part of the ledger that is about requests: decisions asked for on the page, before they are carried out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import insert, select, update

from bot.ledger.ledger import Ledger
from bot.ledger.tables import RequestRow


class RequestKind(StrEnum):
    """What a person asks to be done with a release."""

    PUBLISH = "publish"
    REJECT = "reject"


class RequestState(StrEnum):
    """The state of a request."""

    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class ReviewRequest:
    """A person's request about one release. edited: whether its card may be published as it was edited.

    outcome: why it failed; empty before that.
    """

    id: int
    kind: RequestKind
    cycle: str
    role: str
    note: str
    edited: bool
    who: str
    made: datetime
    state: RequestState
    outcome: str


def make_requests(
    ledger: Ledger, kind: RequestKind, cycle: str, roles: Sequence[str], *, note: str, edited: bool, who: str
) -> None:
    """Ask for releases of a cycle to be published or rejected. What waits already for a release is not asked twice."""
    now = datetime.now(UTC).isoformat()
    with ledger.transaction() as session:
        waiting = select(RequestRow.role).where(RequestRow.cycle == cycle, RequestRow.state == RequestState.WAITING)
        known = set(session.scalars(waiting))
        rows = [
            {
                "kind": kind, "cycle": cycle, "role": role, "note": " ".join(note.split()), "edited": edited,
                "who": who, "made": now, "state": RequestState.WAITING, "outcome": "",
            }
            for role in roles
            if role not in known
        ]  # fmt: skip
        if rows:
            session.execute(insert(RequestRow), rows)


def settle_request(ledger: Ledger, request: ReviewRequest, failure: str | None) -> None:
    """Record that a request was carried out, or why it could not be."""
    state = RequestState.DONE if failure is None else RequestState.FAILED
    change = update(RequestRow).where(RequestRow.id == request.id).values(state=state, outcome=failure or "")
    with ledger.transaction() as session:
        session.execute(change)


def next_request(ledger: Ledger) -> ReviewRequest | None:
    """The oldest request that waits; None if there is none."""
    query = select(RequestRow).where(RequestRow.state == RequestState.WAITING).order_by(RequestRow.id).limit(1)
    with ledger.transaction() as session:
        row = session.scalar(query)
        return None if row is None else _request(row)


def newest_requests(ledger: Ledger, cycle: str) -> dict[str, ReviewRequest]:
    """Role → the newest request about it, for the releases of a cycle about which there is one."""
    query = select(RequestRow).where(RequestRow.cycle == cycle).order_by(RequestRow.id)
    with ledger.transaction() as session:
        return {row.role: _request(row) for row in session.scalars(query)}


def _request(row: RequestRow) -> ReviewRequest:
    return ReviewRequest(
        row.id, RequestKind(row.kind), row.cycle, row.role, row.note, row.edited, row.who,
        datetime.fromisoformat(row.made), RequestState(row.state), row.outcome,
    )  # fmt: skip

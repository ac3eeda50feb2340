"""The part of the ledger that is about requests: decisions asked for on the page, before they are carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, Insert, exists, insert, literal, select, update

from bot.ledger.ledger import Ledger
from bot.ledger.tables import RequestRow, Table


class RequestKind(StrEnum):
    """What a person asks to be done with a release."""

    PUBLISH = "publish"
    REJECT = "reject"


class RequestState(StrEnum):
    """The state of a request. One that has begun goes on after a crash, so it cannot be withdrawn any more."""

    WAITING = "waiting"
    BEGUN = "begun"
    WITHDRAWN = "withdrawn"
    DONE = "done"
    FAILED = "failed"


OPEN = (RequestState.BEGUN, RequestState.WAITING)
"""The states of requests that are still to be carried out."""

_IS_OPEN = RequestRow.state.in_(OPEN)


@dataclass(frozen=True)
class ReviewRequest:
    """A person's request about one release.

    edits: the digest of the edited files that may be published so, as `digest_edits` gives it; empty for none.
    over_changes: whether what somebody changed or deleted on the Hub may be replaced. outcome: why it failed, or who
    withdrew it when; empty before that.
    """

    id: int
    kind: RequestKind
    cycle: str
    role: str
    note: str
    edits: str
    over_changes: bool
    who: str
    made: datetime
    state: RequestState
    outcome: str

    @property
    def is_open(self) -> bool:
        """Whether it is still to be carried out."""
        return self.state in OPEN

    @property
    def met_changes(self) -> bool:
        """Whether it failed because of what somebody changed or deleted on the Hub: the outcome names the remedy."""
        return self.state is RequestState.FAILED and "--over-changes" in self.outcome


def make_requests(
    ledger: Ledger,
    kind: RequestKind,
    cycle: str,
    roles: Sequence[str],
    *,
    note: str,
    who: str,
    edits: str = "",
    over_changes: bool = False,
) -> None:
    """Ask for releases of a cycle to be published or rejected. What waits already for a release is not asked twice."""
    asked = {
        "kind": kind, "cycle": cycle, "note": " ".join(note.split()), "who": who, "edits": edits,
        "over_changes": over_changes, "made": datetime.now(UTC).isoformat(), "state": RequestState.WAITING,
        "outcome": "",
    }  # fmt: skip
    with ledger.transaction() as session:
        for role in roles:
            waits = (RequestRow.cycle == cycle) & (RequestRow.role == role) & _IS_OPEN
            session.execute(insert_unless(waits, RequestRow, {**asked, "role": role}))


def insert_unless(there: ColumnElement[bool], table: type[Table], values: Mapping[str, object]) -> Insert:
    """A statement that inserts a row, unless the table has one for which `there` is true.

    One statement, because a look before it would see nothing of what another thread inserts in between.
    """
    row = select(*map(literal, values.values())).where(~exists(select(table).where(there)))
    return insert(table).from_select(list(values), row)


def settle_request(ledger: Ledger, request: ReviewRequest, failure: str | None) -> None:
    """Record that a request was carried out, or why it could not be."""
    state = RequestState.DONE if failure is None else RequestState.FAILED
    change = update(RequestRow).where(RequestRow.id == request.id).values(state=state, outcome=failure or "")
    with ledger.transaction() as session:
        session.execute(change)


def withdraw_request(ledger: Ledger, id: int, who: str) -> ReviewRequest | None:
    """Withdraw a request that waits; it stays on record. Returns the request as it is then; None for an unknown one."""
    outcome = f"{who} withdrew it on {datetime.now(UTC):%Y-%m-%d %H:%M}"
    waits = (RequestRow.id == id, RequestRow.state == RequestState.WAITING)
    change = update(RequestRow).where(*waits).values(state=RequestState.WITHDRAWN, outcome=outcome)
    with ledger.transaction() as session:
        session.execute(change)
        row = session.get(RequestRow, id, populate_existing=True)
        return None if row is None else _request(row)


def has_requests(ledger: Ledger) -> bool:
    """Whether there is a request to be carried out."""
    with ledger.transaction() as session:
        return session.scalar(select(RequestRow.id).where(_IS_OPEN).limit(1)) is not None


def begin_request(ledger: Ledger) -> ReviewRequest | None:
    """The request to be carried out now: the one that had begun before a crash, else the oldest; None without one."""
    has_begun = RequestRow.state == RequestState.BEGUN
    first = select(RequestRow.id).where(_IS_OPEN).order_by(has_begun.desc(), RequestRow.id).limit(1).scalar_subquery()
    # One statement, so that nobody can withdraw it in between.
    change = update(RequestRow).where(RequestRow.id == first).values(state=RequestState.BEGUN).returning(RequestRow)
    with ledger.transaction() as session:
        row = session.scalar(change)
        return None if row is None else _request(row)


def waiting_requests(ledger: Ledger) -> tuple[ReviewRequest, ...]:
    """The requests that are not carried out yet, the oldest first."""
    query = select(RequestRow).where(_IS_OPEN).order_by(RequestRow.id)
    with ledger.transaction() as session:
        return tuple(map(_request, session.scalars(query)))


def newest_requests(ledger: Ledger, cycle: str) -> dict[str, ReviewRequest]:
    """Role → the newest request about it, for the releases of a cycle about which there is one."""
    query = select(RequestRow).where(RequestRow.cycle == cycle).order_by(RequestRow.id)
    with ledger.transaction() as session:
        return {row.role: _request(row) for row in session.scalars(query)}


def _request(row: RequestRow) -> ReviewRequest:
    return ReviewRequest(
        row.id, RequestKind(row.kind), row.cycle, row.role, row.note, row.edits, row.over_changes, row.who,
        datetime.fromisoformat(row.made), RequestState(row.state), row.outcome,
    )  # fmt: skip

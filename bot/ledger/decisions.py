"""The part of the ledger that is about reviews: what people decided, and copies of the files that they reviewed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from operator import eq

from sqlalchemy import and_, delete, insert, select

from bot.ledger.ledger import Ledger
from bot.ledger.tables import CycleRow, DecisionRow, DocumentRow, ReleaseRow


class ReviewVerdict(StrEnum):
    """What a person decided on a release; reopened: that it waits again, although it was rejected."""

    PUBLISHED = "published"
    REJECTED = "rejected"
    REOPENED = "reopened"


@dataclass(frozen=True)
class ReviewDecision:
    """A person's decision on one release. note: the person's reason, or what was remarkable; may be empty."""

    cycle: str
    role: str
    recipe: str
    verdict: ReviewVerdict
    who: str
    when: datetime
    note: str

    def describe(self) -> str:
        """`rejected by anna on 2026-03-01: too small a lead`."""
        return f"{self.verdict} by {self.who} on {self.when:%Y-%m-%d}" + (f": {self.note}" if self.note else "")


def record_decision(ledger: Ledger, decision: ReviewDecision) -> None:
    """Record a decision; it replaces earlier ones on the same release, which stay on record."""
    values = vars(decision) | {"decided": decision.when.isoformat()}
    del values["when"]
    with ledger.transaction() as session:
        session.execute(insert(DecisionRow), [values])


def cycle_decisions(ledger: Ledger, cycle: str) -> dict[str, ReviewDecision]:
    """Role → the decision that holds, for the releases of a cycle on which there is one.

    A decision on another recipe, which had the role before the cycle was interrupted and resumed, is none on this one.
    """
    decided = (DecisionRow.cycle, DecisionRow.role, DecisionRow.recipe)
    same = and_(*map(eq, decided, (ReleaseRow.cycle, ReleaseRow.role, ReleaseRow.recipe)))
    query = select(DecisionRow).join(ReleaseRow, same).where(DecisionRow.cycle == cycle).order_by(DecisionRow.id)
    with ledger.transaction() as session:
        return {row.role: _decision(row) for row in session.scalars(query)}


def rejected_recipes(ledger: Ledger, watchlist: str) -> dict[str, ReviewDecision]:
    """Recipe digest → the decision, for all that were rejected in any cycle of a watchlist and not published later."""
    query = select(DecisionRow).join(CycleRow, CycleRow.id == DecisionRow.cycle)
    with ledger.transaction() as session:
        rows = session.scalars(query.where(CycleRow.watchlist == watchlist).order_by(DecisionRow.id))
        newest = {row.recipe: _decision(row) for row in rows}
    return {recipe: one for recipe, one in newest.items() if one.verdict is ReviewVerdict.REJECTED}


def keep_documents(ledger: Ledger, cycle: str, role: str, documents: Mapping[str, bytes]) -> None:
    """Keep copies of a release's files by name; those kept earlier are replaced."""
    rows = [{"cycle": cycle, "role": role, "name": name, "content": content} for name, content in documents.items()]
    with ledger.transaction() as session:
        session.execute(delete(DocumentRow).where(DocumentRow.cycle == cycle, DocumentRow.role == role))
        if rows:
            session.execute(insert(DocumentRow), rows)


def kept_documents(ledger: Ledger, cycle: str, role: str) -> dict[str, bytes]:
    """The copies of a release's files by name; none for releases that an older shoal wrote."""
    query = select(DocumentRow).where(DocumentRow.cycle == cycle, DocumentRow.role == role)
    with ledger.transaction() as session:
        return {row.name: row.content for row in session.scalars(query)}


def _decision(row: DecisionRow) -> ReviewDecision:
    when, verdict = datetime.fromisoformat(row.decided), ReviewVerdict(row.verdict)
    return ReviewDecision(row.cycle, row.role, row.recipe, verdict, row.who, when, row.note)

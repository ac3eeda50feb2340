"""The ledger: the database of all that was measured and done. Every write is one transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Table as SqlTable
from sqlalchemy import delete, func, inspect, literal_column, select, update
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.orm import Session

from bot.errors import ShoalError
from bot.hub.discovery.candidate import Verdict
from bot.ledger.database import open_database
from bot.ledger.tables import (
    CandidateRow,
    CycleRow,
    EvaluationRow,
    FrontRow,
    ItemScoreRow,
    RecipeRow,
    ReleaseRow,
    SourceRow,
    StageRow,
    Table,
)

T = TypeVar("T")


class State(StrEnum):
    """The state of a cycle."""

    RUNNING = "running"  # under way, or interrupted: the next run resumes it
    FAILED = "failed"  # ended by an error, which is its note: the next run resumes it
    REVIEW = "waiting for review"  # releases are written, and a person has to publish or reject some of them
    PUBLISHED = "published"  # at least one release is on the Hub, and none is waiting
    REJECTED = "rejected"  # a person rejected every release
    WRITTEN = "written"  # publishing is off: the releases stay in the home
    NOTHING = "nothing worth publishing"  # no front member passed the gate
    UNCHANGED = "nothing new"  # the same sources and watchlist as an earlier cycle
    ABANDONED = "abandoned"  # the watchlist changed before the cycle was done


RESUMED = (State.RUNNING, State.FAILED)
"""The states of a cycle that the next run of its watchlist resumes."""


@dataclass(frozen=True)
class Cycle:
    """One pass of the bot over one watchlist."""

    id: str
    watchlist: str
    number: int
    digest: str
    state: State
    note: str
    started: datetime
    finished: datetime | None


_OTHER_WATCHLIST = "the watchlist, or the keys that this shoal reads in it, changed before the cycle was done"

AUDITIONED = "auditioned"
"""The role of a model that was fetched to audition for a cycle's pool, and was not chosen."""


@dataclass(frozen=True)
class SourceEntry:
    """One model of a cycle's pool, or one that auditioned for it."""

    repo: str
    sha: str
    role: str
    licence: str


@dataclass(frozen=True)
class ItemValue:
    """One recipe's score on one item; `task` is the task's digest. sketch: as `ItemScore` has it."""

    task: str
    item: str
    value: float
    flag: str | None
    sketch: str | None = None


@dataclass(frozen=True)
class EvaluationEntry:
    """One recipe on one evaluation set. seconds: its share of the wall time. failure: why it has no scores."""

    recipe: str
    eval_set: str
    seconds: float
    failure: str | None
    transient: bool = False


@dataclass(frozen=True)
class ReleaseEntry:
    """A written release; `commit` is set once it is on the Hub. `files` maps names to SHA-256."""

    cycle: str
    role: str
    recipe: str
    repo: str
    files: Mapping[str, str]
    commit: str | None = None


class Ledger:
    """The ledger in one SQLite file."""

    def __init__(self, path: Path) -> None:
        """Open it, or make a new one; raises ShoalError as `open_database` does."""
        self.path = path
        self._engine = open_database(path)

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """All or nothing; ShoalError if the disk or another process prevents it."""
        with Session(self._engine) as session, session.begin():
            yield session

    # -- cycles ---------------------------------------------------------------------------------------------------

    def begin(self, watchlist: str, digest: str, now: datetime) -> Cycle:
        """The watchlist's interrupted cycle, to be resumed, or else a new one.

        digest: the watchlist's digest. An interrupted or failed cycle of another digest is closed as abandoned, and its
        scores are still used; but one that failed before it had found anything is begun again under the new digest. A
        new cycle forgets failures that may have been the machine's.
        """
        with self.transaction() as session:
            newest = session.scalars(
                select(CycleRow).where(CycleRow.watchlist == watchlist).order_by(CycleRow.number.desc()).limit(1)
            ).first()
            if newest is not None and newest.state in RESUMED:
                if newest.digest == digest or _has_not_begun(session, newest):
                    newest.digest, newest.state, newest.note, newest.finished = digest, State.RUNNING, "", None
                    return _cycle(newest)
                newest.state, newest.note = State.ABANDONED, _OTHER_WATCHLIST
                newest.finished = now.isoformat()
            session.execute(delete(EvaluationRow).where(EvaluationRow.transient))
            number = 1 if newest is None else newest.number + 1
            row = CycleRow(
                id=f"{watchlist}-{number}",
                watchlist=watchlist,
                number=number,
                digest=digest,
                state=State.RUNNING,
                note="",
                started=now.isoformat(),
                finished=None,
            )
            session.add(row)
            session.flush()
            return _cycle(row)

    def finish(self, cycle: str, state: State, note: str, now: datetime) -> None:
        """Close a cycle (or move it to review) with one line on how it ended."""
        with self.transaction() as session:
            session.execute(
                update(CycleRow).where(CycleRow.id == cycle).values(state=state, note=note, finished=now.isoformat())
            )

    def cycles(self, watchlist: str | None = None) -> tuple[Cycle, ...]:
        """All cycles, newest first, whatever the clock said when they began."""
        query = select(CycleRow).order_by(literal_column("rowid").desc())
        if watchlist is not None:
            query = query.where(CycleRow.watchlist == watchlist)
        with Session(self._engine) as session:
            return tuple(_cycle(row) for row in session.scalars(query))

    def cycle(self, cycle: str) -> Cycle:
        """One cycle by its id; ShoalError names those that exist."""
        with Session(self._engine) as session:
            row = session.get(CycleRow, cycle)
            if row is not None:
                return _cycle(row)
        known = ", ".join(entry.id for entry in self.cycles()[:5]) or "none yet"
        raise ShoalError(f"cycle {cycle!r} is not in {self.path}; the newest are: {known}")

    # -- results of stages -------------------------------------------------------------------------------------

    def keep(self, cycle: str, stage: str, value: T, kind: type[T]) -> None:
        """Keep a stage's result; `kind` is a frozen dataclass or another type that pydantic can write."""
        text = TypeAdapter(kind).dump_json(value).decode()
        with self.transaction() as session:
            session.execute(_upsert(StageRow), [{"cycle": cycle, "stage": stage, "value": text}])

    def kept(self, cycle: str, stage: str, kind: type[T]) -> T | None:
        """A stage's result, or None if the cycle has not come so far.

        ShoalError if it was kept in a form that this program does not read.
        """
        with Session(self._engine) as session:
            row = session.get(StageRow, (cycle, stage))
        try:
            return None if row is None else TypeAdapter(kind).validate_json(row.value)
        except ValidationError as error:
            raise ShoalError(
                f"cycle {cycle}: its {stage} in {self.path} was kept by another version of shoal "
                f"({error.errors()[0]['msg']}); read it with that version, or run the watchlist again"
            ) from error

    def forget(self, cycle: str, stage: str) -> None:
        """Delete a stage's result, so that the stage is done again."""
        with self.transaction() as session:
            session.execute(delete(StageRow).where(StageRow.cycle == cycle, StageRow.stage == stage))

    def record_pool(self, cycle: str, verdicts: Iterable[Verdict], sources: Iterable[SourceEntry]) -> None:
        """Record every candidate with its reason, and the pool's members; those recorded earlier are replaced."""
        candidates = [{"cycle": cycle, **vars(verdict)} for verdict in verdicts]
        members = [{"cycle": cycle, **vars(source)} for source in sources]
        with self.transaction() as session:
            for table, rows in ((CandidateRow, candidates), (SourceRow, members)):
                session.execute(delete(table).where(table.cycle == cycle))
                if rows:
                    session.execute(_upsert(table), rows)

    def verdicts(self, cycle: str) -> tuple[Verdict, ...]:
        """Every candidate of a cycle, the accepted first."""
        query = select(CandidateRow).where(CandidateRow.cycle == cycle)
        with Session(self._engine) as session:
            rows = session.scalars(query.order_by(CandidateRow.accepted.desc(), CandidateRow.repo)).all()
        return tuple(Verdict(row.repo, row.sha, row.accepted, row.reason) for row in rows)

    def refusals(self, repo: str, sha: str) -> tuple[str, ...]:
        """The reasons why any cycle refused a repo at one commit."""
        query = select(CandidateRow.reason).where(
            CandidateRow.repo == repo, CandidateRow.sha == sha, CandidateRow.accepted.is_(False)
        )
        with Session(self._engine) as session:
            return tuple(session.scalars(query.distinct()))

    def sources(self, cycle: str) -> tuple[SourceEntry, ...]:
        """The members of a cycle's pool."""
        query = select(SourceRow).where(SourceRow.cycle == cycle).order_by(SourceRow.role, SourceRow.repo)
        with Session(self._engine) as session:
            rows = session.scalars(query).all()
        return tuple(SourceEntry(row.repo, row.sha, row.role, row.licence) for row in rows)

    # -- scores ---------------------------------------------------------------------------------------------------

    def record_evaluation(self, recipe: str, entry: EvaluationEntry, items: Sequence[ItemValue]) -> None:
        """Record a recipe (its JSON), its evaluation, and its item scores: all or nothing."""
        rows = [{"recipe": entry.recipe, **vars(item)} for item in items]
        with self.transaction() as session:
            session.execute(_upsert(RecipeRow), [{"digest": entry.recipe, "recipe": recipe}])
            session.execute(_upsert(EvaluationRow), [vars(entry)])
            if rows:
                session.execute(_upsert(ItemScoreRow), rows)

    def evaluation(self, recipe: str, eval_set: str) -> EvaluationEntry | None:
        """A recipe's evaluation on an evaluation set, or None if it has not been scored on it."""
        with Session(self._engine) as session:
            row = session.get(EvaluationRow, (recipe, eval_set))
            return (
                None
                if row is None
                else EvaluationEntry(row.recipe, row.eval_set, row.seconds, row.failure, row.transient)
            )

    def item_values(self, recipe: str, tasks: Iterable[str]) -> dict[tuple[str, str], ItemValue]:
        """A recipe's scores on the named task digests, by (task, item)."""
        query = select(ItemScoreRow).where(ItemScoreRow.recipe == recipe, ItemScoreRow.task.in_(tuple(tasks)))
        with Session(self._engine) as session:
            rows = session.scalars(query).all()
        return {(row.task, row.item): ItemValue(row.task, row.item, row.value, row.flag, row.sketch) for row in rows}

    def recipe(self, digest: str) -> str:
        """A recipe's JSON by its digest."""
        with Session(self._engine) as session:
            row = session.get(RecipeRow, digest)
        if row is None:
            raise ShoalError(
                f"recipe {digest[:12]} is not in {self.path}; was the ledger replaced? run the cycle again"
            )
        return row.recipe

    def count_evaluations(self) -> int:
        """Number of (recipe, evaluation set) pairs that were scored."""
        with Session(self._engine) as session:
            return session.scalar(select(func.count()).select_from(EvaluationRow)) or 0

    # -- fronts and releases --------------------------------------------------------------------------------------

    def record_front(self, cycle: str, generation: int, members: Iterable[tuple[str, Sequence[float]]]) -> None:
        """Record the front after a generation: recipe digests with their objectives. It replaces an earlier one."""
        rows = [
            {
                "cycle": cycle,
                "generation": generation,
                "recipe": digest,
                "objectives": json.dumps(list(objectives)),
            }
            for digest, objectives in members
        ]
        with self.transaction() as session:
            session.execute(delete(FrontRow).where(FrontRow.cycle == cycle, FrontRow.generation == generation))
            if rows:
                session.execute(_upsert(FrontRow), rows)

    def front(self, cycle: str) -> tuple[tuple[str, tuple[float, ...]], ...]:
        """The newest front of a cycle: (recipe digest, objectives), best in the first objective first."""
        fronts = self.fronts(cycle)
        return fronts[max(fronts)] if fronts else ()

    def fronts(self, cycle: str) -> dict[int, tuple[tuple[str, tuple[float, ...]], ...]]:
        """Generation → its front, as `front` gives it, for every generation of a cycle's search so far."""
        query = select(FrontRow).where(FrontRow.cycle == cycle).order_by(FrontRow.generation)
        found: dict[int, list[tuple[str, tuple[float, ...]]]] = {}
        with Session(self._engine) as session:
            for row in session.scalars(query):
                found.setdefault(row.generation, []).append((row.recipe, tuple(json.loads(row.objectives))))
        return {
            generation: tuple(sorted(front, key=lambda member: (member[1], member[0]), reverse=True))
            for generation, front in found.items()
        }

    def newest_generation(self, cycle: str) -> int:
        """The number of the newest generation whose front is recorded; 0 before the first."""
        query = select(func.max(FrontRow.generation)).where(FrontRow.cycle == cycle)
        with Session(self._engine) as session:
            return session.scalar(query) or 0

    def once_on_front(self, cycle: str) -> tuple[str, ...]:
        """Every recipe that was on a cycle's front after some generation, those of the newest generation first."""
        newest = func.max(FrontRow.generation)
        query = select(FrontRow.recipe).where(FrontRow.cycle == cycle).group_by(FrontRow.recipe)
        with Session(self._engine) as session:
            return tuple(session.scalars(query.order_by(newest.desc(), FrontRow.recipe)))

    def record_release(self, release: ReleaseEntry, published: datetime | None) -> None:
        """Record a release as written, or as published when it has a commit."""
        row = vars(release) | {
            "files": json.dumps(dict(release.files), sort_keys=True),
            "published": published.isoformat() if published else None,
        }
        with self.transaction() as session:
            session.execute(_upsert(ReleaseRow), [row])

    def releases(self, cycle: str | None = None) -> tuple[ReleaseEntry, ...]:
        """The releases of one cycle, or all."""
        query = select(ReleaseRow).order_by(ReleaseRow.cycle, ReleaseRow.role)
        if cycle is not None:
            query = query.where(ReleaseRow.cycle == cycle)
        with Session(self._engine) as session:
            return tuple(map(_release, session.scalars(query)))

    def drop_releases(self, cycle: str, keep: Iterable[str]) -> None:
        """Delete a cycle's unpublished releases, except those in the roles `keep`, which are chosen now."""
        rows = delete(ReleaseRow).where(ReleaseRow.cycle == cycle, ReleaseRow.commit.is_(None))
        with self.transaction() as session:
            session.execute(rows.where(ReleaseRow.role.not_in(tuple(keep))))

    def last_published(self, repo: str) -> ReleaseEntry | None:
        """The release that was last published to a repo."""
        query = select(ReleaseRow).where(ReleaseRow.repo == repo, ReleaseRow.published.is_not(None))
        with Session(self._engine) as session:
            row = session.scalars(query.order_by(ReleaseRow.published.desc()).limit(1)).first()
            return None if row is None else _release(row)


def _has_not_begun(session: Session, cycle: CycleRow) -> bool:
    """Whether a cycle failed before it had found anything: the Hub was down, or the watchlist named a wrong task."""
    found = select(func.count()).select_from(CandidateRow).where(CandidateRow.cycle == cycle.id)
    return cycle.state == State.FAILED and not session.scalar(found)


@cache
def _upsert(table: type[Table]) -> Insert:
    """A statement that inserts rows, and updates those whose key exists."""
    # The table, not the class: inserting plain rows takes less than half the time of inserting objects.
    rows = inspect(table).local_table
    assert isinstance(rows, SqlTable)
    statement = insert(rows)
    keys = [column.name for column in inspect(table).primary_key]
    fresh = {
        column.name: statement.excluded[column.name] for column in inspect(table).columns if column.name not in keys
    }
    return statement.on_conflict_do_update(index_elements=keys, set_=fresh)


def _release(row: ReleaseRow) -> ReleaseEntry:
    return ReleaseEntry(row.cycle, row.role, row.recipe, row.repo, json.loads(row.files), row.commit)


def _cycle(row: CycleRow) -> Cycle:
    return Cycle(
        id=row.id,
        watchlist=row.watchlist,
        number=row.number,
        digest=row.digest,
        state=State(row.state),
        note=row.note,
        started=datetime.fromisoformat(row.started),
        finished=datetime.fromisoformat(row.finished) if row.finished else None,
    )

"""The ledger's tables; a changed one needs a migration (`bot.ledger.migration`).

Times are ISO 8601 texts in UTC, because SQLite keeps no time zone.
"""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Table(DeclarativeBase):
    """The base of all tables."""


class CycleRow(Table):
    """One pass of the bot over one watchlist."""

    __tablename__ = "cycles"
    id: Mapped[str] = mapped_column(primary_key=True)
    watchlist: Mapped[str] = mapped_column(index=True)
    number: Mapped[int]
    digest: Mapped[str]
    """Digest of the watchlist: an interrupted cycle is resumed only if it is the same."""
    state: Mapped[str]
    note: Mapped[str] = mapped_column(default="")
    started: Mapped[str]
    finished: Mapped[str | None]


class StageRow(Table):
    """The result of one stage of a cycle, as JSON, so that an interrupted cycle resumes after it."""

    __tablename__ = "stages"
    cycle: Mapped[str] = mapped_column(ForeignKey("cycles.id"), primary_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


class CandidateRow(Table):
    """A repo that discovery found in a cycle, and why it was accepted or refused."""

    __tablename__ = "candidates"
    cycle: Mapped[str] = mapped_column(ForeignKey("cycles.id"), primary_key=True)
    repo: Mapped[str] = mapped_column(primary_key=True)
    sha: Mapped[str | None]
    accepted: Mapped[bool]
    reason: Mapped[str]


class SourceRow(Table):
    """A member of a cycle's pool: what was merged, at which commit, in which role."""

    __tablename__ = "sources"
    cycle: Mapped[str] = mapped_column(ForeignKey("cycles.id"), primary_key=True)
    repo: Mapped[str] = mapped_column(primary_key=True)
    sha: Mapped[str]
    role: Mapped[str]
    licence: Mapped[str]


class RecipeRow(Table):
    """A recipe by its digest."""

    __tablename__ = "recipes"
    digest: Mapped[str] = mapped_column(primary_key=True)
    recipe: Mapped[str]


class EvaluationRow(Table):
    """One recipe on one evaluation set: what it cost, and the failure where it has no scores."""

    __tablename__ = "evaluations"
    recipe: Mapped[str] = mapped_column(ForeignKey("recipes.digest"), primary_key=True)
    eval_set: Mapped[str] = mapped_column(primary_key=True)
    seconds: Mapped[float]
    failure: Mapped[str | None]
    transient: Mapped[bool]
    """Whether the failure may be the machine's: it counts for the cycle that met it, and a new cycle tries again."""


class ItemScoreRow(Table):
    """The score of one recipe on one item of one task; all statistics rest on it."""

    __tablename__ = "item_scores"
    recipe: Mapped[str] = mapped_column(ForeignKey("recipes.digest"), primary_key=True)
    task: Mapped[str] = mapped_column(primary_key=True)
    item: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float]
    flag: Mapped[str | None]
    sketch: Mapped[str | None]
    """Of a picture, as `evaluation.scores.ItemScore` has it; its flag says nothing of other pictures."""
    __table_args__ = ({"sqlite_with_rowid": False},)


class FrontRow(Table):
    """A recipe that was on the front after a generation, with its objectives on the search split."""

    __tablename__ = "fronts"
    cycle: Mapped[str] = mapped_column(ForeignKey("cycles.id"), primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True)
    recipe: Mapped[str] = mapped_column(ForeignKey("recipes.digest"), primary_key=True)
    objectives: Mapped[str]


class ReleaseRow(Table):
    """A front member that was written as a release: its repo, its files' hashes, and its commit on the Hub."""

    __tablename__ = "releases"
    cycle: Mapped[str] = mapped_column(ForeignKey("cycles.id"), primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    recipe: Mapped[str] = mapped_column(ForeignKey("recipes.digest"))
    repo: Mapped[str]
    files: Mapped[str]
    commit: Mapped[str | None]
    published: Mapped[str | None]


Index("releases_by_recipe", ReleaseRow.recipe, ReleaseRow.repo)


class DecisionRow(Table):
    """A person's decision on a release: to publish or to reject it. The newest one on a release holds."""

    __tablename__ = "decisions"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    cycle: Mapped[str] = mapped_column(ForeignKey("cycles.id"), index=True)
    role: Mapped[str]
    recipe: Mapped[str] = mapped_column(ForeignKey("recipes.digest"))
    verdict: Mapped[str]
    who: Mapped[str]
    decided: Mapped[str]
    note: Mapped[str]


class RequestRow(Table):
    """A decision that a person asked for on the page; it is carried out as soon as no cycle holds the home."""

    __tablename__ = "requests"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    kind: Mapped[str]
    cycle: Mapped[str] = mapped_column(ForeignKey("cycles.id"), index=True)
    role: Mapped[str]
    note: Mapped[str]
    edits: Mapped[str]
    over_changes: Mapped[bool]
    who: Mapped[str]
    made: Mapped[str]
    state: Mapped[str]
    outcome: Mapped[str] = mapped_column(default="")


class RunRequestRow(Table):
    """A watchlist's run that a person asked for on the page; it begins as soon as no other cycle runs."""

    __tablename__ = "run_requests"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    watchlist: Mapped[str] = mapped_column(index=True)
    who: Mapped[str]
    made: Mapped[str]
    state: Mapped[str]
    outcome: Mapped[str] = mapped_column(default="")


class PullRequestRow(Table):
    """A pull request on the Hub that offers a release to its reviewers, until a person merges or closes it."""

    __tablename__ = "pull_requests"
    cycle: Mapped[str] = mapped_column(ForeignKey("cycles.id"), primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    repo: Mapped[str]
    number: Mapped[int]
    recipe: Mapped[str]
    url: Mapped[str]
    opened: Mapped[str]
    settled: Mapped[bool]
    closed: Mapped[str | None]


class DocumentRow(Table):
    """A file of a release that its recipe does not determine: its card, its pictures, its provenance."""

    __tablename__ = "documents"
    cycle: Mapped[str] = mapped_column(ForeignKey("cycles.id"), primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[bytes]


class WebhookCallRow(Table):
    """A call of the Hub that was taken. The same event may come again: the Hub's own page can replay it."""

    __tablename__ = "webhook_calls"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    key: Mapped[str] = mapped_column(unique=True)
    """Digest of the repo and its new commits, or of the call itself where it names none."""
    received: Mapped[str]
    event: Mapped[str]
    decision: Mapped[str]


class WakeRow(Table):
    """A watchlist that calls woke, until a cycle has begun after them."""

    __tablename__ = "webhook_wakes"
    watchlist: Mapped[str] = mapped_column(primary_key=True)
    cause: Mapped[str]
    first: Mapped[str]
    last: Mapped[str]
    newest_cycle: Mapped[int | None]
    """Number of the newest cycle (0: none) when a run that answers the calls began; null before that."""

"""The facts of a card about pictures: how they were drawn and judged, and the grid that shows some of them."""

from dataclasses import dataclass

from bot.search.results import BaselineKind


@dataclass(frozen=True)
class JudgeFacts:
    """What gives pictures numbers. words: it in a few words. repo, sha: of its model, None for a rule. licence: the one
    that the repo's card declares; None where it declares none, or there is no repo."""

    words: str
    repo: str | None = None
    sha: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class PictureCounts:
    """The number of pictures of a release, and of those that are degenerate: flat, saturated, equal to that of another
    prompt, or not finite."""

    drawn: int
    flat: int
    saturated: int
    equal: int
    not_finite: int


@dataclass(frozen=True)
class DrawnFacts:
    """How a task's pictures are drawn, in words, and judged.

    judge: that of the search and of the gate. report_judge: that of the report split, perhaps the same.
    """

    how: str
    judge: JudgeFacts
    report_judge: JudgeFacts
    counts: PictureCounts


@dataclass(frozen=True)
class GridColumn:
    """A model in the grid. name: a baseline's; None for the release itself."""

    name: str | None
    kind: BaselineKind

    @property
    def repo(self) -> str | None:
        """Its repo; None for the release, and for a plain merge, which was never published."""
        return None if self.kind is BaselineKind.PLAIN else self.name


@dataclass(frozen=True)
class GridCell:
    """A picture in the grid. score: by the report's judge, in the metric's own unit. fault: why it is degenerate; ""
    if it is not. drawn: whether it could be drawn again for the grid."""

    score: float
    fault: str
    drawn: bool


@dataclass(frozen=True)
class GridRow:
    """A report item in the grid. picture: the release's file with its own picture. negative: the negative prompt; ""
    for none. cells: one a column."""

    skill: str
    metric: str
    prompt: str
    negative: str
    seed: int
    picture: str
    cells: tuple[GridCell, ...]


@dataclass(frozen=True)
class GridFacts:
    """Report items as several models draw them. picture: the release's file with the grid."""

    picture: str
    columns: tuple[GridColumn, ...]
    rows: tuple[GridRow, ...]

"""The picture of a card's scores: for each skill the release, and below it all that it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.release.card.facts import BaselineScores, ScoreTable
from bot.release.plots.canvas import SMALL, new_figure, own_settings, to_png
from bot.release.plots.labels import drawable, without_middle
from bot.release.plots.palette import GRID, INK, STYLES, Style
from bot.search.results import BaselineKind
from evaluation.statistics.values import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAME_LENGTH = 25  # characters
_ROW, _AROUND_ROWS = 0.235, 0.62  # inches
_WEAKER_SHOWN = 2.5  # widths of the release's own interval


@dataclass(frozen=True)
class _ScoreRow:
    """A model's name, its kind, and its score at one skill."""

    name: str
    style: Style
    score: Interval


def report_plot(table: ScoreTable) -> bytes:
    """PNG of the report scores with their intervals, one strip per skill.

    An axis covers the release and every stronger model, and of the weaker ones those that are near; an arrow at its
    edge stands for a model farther down, with its score.
    """
    with own_settings():
        return to_png(report_figure(table))


def report_figure(table: ScoreTable) -> Figure:
    """The picture as a figure; only within `own_settings`."""
    rows = 1 + len(table.others)
    figure = new_figure((rows * _ROW + _AROUND_ROWS) * len(table.skills))
    strips = figure.subplots(len(table.skills), 1, squeeze=False)[:, 0]
    for column, (axes, skill) in enumerate(zip(strips, table.skills, strict=True)):
        _draw_strip(axes, skill, _score_rows(table, column))
    return figure


def _score_rows(table: ScoreTable, column: int) -> list[_ScoreRow]:
    own = _ScoreRow("this model", STYLES[BaselineKind.RELEASE], table.scores[column])
    names = _short_names([other.name for other in table.others])
    return [own, *(_row(other, name, column) for other, name in zip(table.others, names, strict=True))]


def _row(other: BaselineScores, name: str, column: int) -> _ScoreRow:
    return _ScoreRow(name, STYLES[other.kind], other.scores[column])


def _short_names(names: Sequence[str]) -> list[str]:
    """Repos without their owners where that leaves them different."""
    bare = [name.rpartition("/")[2] for name in names]
    chosen = bare if len(set(bare)) == len(set(names)) else names
    return [without_middle(name, _NAME_LENGTH) for name in chosen]


def _draw_strip(axes: Axes, skill: str, rows: Sequence[_ScoreRow]) -> None:
    low, high = find_limits([row.score for row in rows])
    axes.set_xlim(low, high)
    axes.set_ylim(len(rows) - 0.5, -0.5)  # the release on top
    own = rows[0].score
    axes.axvspan(own.low, own.high, color=rows[0].style.colour, alpha=0.14, linewidth=0, zorder=0)
    for y, row in enumerate(rows):
        _draw_row(axes, y, row, low)
    axes.set_yticks(range(len(rows)), [row.name for row in rows], parse_math=False)
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=5)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(drawable(skill, 36), loc="left", fontweight="bold", parse_math=False)


def find_limits(scores: Sequence[Interval]) -> tuple[float, float]:
    """The limits of an axis for the release's score, which is the first, and the others'."""
    own = scores[0]
    reach = _WEAKER_SHOWN * max(own.high - own.low, 1e-6)
    near = [score for score in scores if score.mean >= own.low - reach]
    low, high = min(score.low for score in near), max(score.high for score in near)
    margin = 0.04 * (high - low) or 0.5
    # Room for the arrows and scores of those that are farther down.
    return low - (4 if len(near) < len(scores) else 1) * margin, high + margin


def _draw_row(axes: Axes, y: int, row: _ScoreRow, left: float) -> None:
    score, style = row.score, row.style
    if score.mean < left:
        axes.annotate(
            f"◂ {score.mean:.2f}",
            (0, y),
            xycoords=("axes fraction", "data"),
            xytext=(2, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=SMALL,
            color=INK,
            annotation_clip=False,
        )
        return
    axes.plot([score.low, score.high], [y, y], color=style.colour, linewidth=2.2, solid_capstyle="round", zorder=2)
    axes.scatter(score.mean, y, s=style.area, c=style.colour, marker=style.marker, linewidths=0, zorder=3)

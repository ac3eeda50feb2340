"""Pictures of the scores and of the search's progress, as PNG bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from bot.release.plots.canvas import LABEL_LENGTH, SMALL, new_figure, own_settings, style_axes, to_png
from bot.release.plots.labels import Label, draw_labels, drawable
from bot.release.plots.palette import BLUE, GROUND, STYLES, Style
from bot.search.results import BaselineKind
from merging.evolution.pareto import nondominated

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

Point = tuple[float, ...]


@dataclass(frozen=True)
class Mark:
    """A named model at its scores, one number per skill."""

    name: str
    kind: BaselineKind
    point: Point


@dataclass(frozen=True)
class ParetoFacts:
    """Scores on the search split that the picture of the front shows; higher is better.

    candidates: all that were scored on every item. front: its members; others may surpass them where a model of
    the scores chose it. marks: releases and baselines.
    """

    skills: tuple[str, ...]
    candidates: tuple[Point, ...]
    front: tuple[Point, ...]
    marks: tuple[Mark, ...]


_FRONT = Style("o", BLUE, 24)
_CANDIDATE = Style("o", "#8296aa", 12)
_PLOT, _HALF_PLOT, _KEY_LINE = 2.7, 1.9, 0.19  # heights in inches


def pareto_plot(facts: ParetoFacts) -> bytes:
    """PNG of the scores: faint candidates, the front, and releases and baselines with letters and a key below.

    More than two skills become a grid of pairs. A single skill is drawn against the number of candidates that score
    lower.
    """
    with own_settings():
        return to_png(_pareto_figure(_ranked(facts) if len(facts.skills) == 1 else facts))


def progress_plot(hypervolumes: Sequence[float]) -> bytes:
    """PNG of the front's hypervolume after each generation."""
    from matplotlib.ticker import MaxNLocator

    with own_settings():
        figure = new_figure(2.0)
        axes = figure.subplots()
        generations = range(1, len(hypervolumes) + 1)
        axes.plot(generations, hypervolumes, color=_FRONT.colour, marker="o", markersize=4)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        style_axes(axes, "generation", "hypervolume")
        return to_png(figure)


def _ranked(facts: ParetoFacts) -> ParetoFacts:
    """A single skill as two: the score, and the number of candidates that score lower."""

    def pair(point: Point) -> Point:
        return (point[0], float(sum(other[0] < point[0] for other in facts.candidates)))

    return ParetoFacts(
        skills=(facts.skills[0], "candidates that score lower"),
        candidates=tuple(map(pair, facts.candidates)),
        front=tuple(map(pair, facts.front)),
        marks=tuple(replace(mark, point=pair(mark.point)) for mark in facts.marks),
    )


def _pareto_figure(facts: ParetoFacts) -> Figure:
    pairs = list(combinations(range(len(facts.skills)), 2))
    columns = 1 if len(pairs) == 1 else 2
    heights = [_PLOT if columns == 1 else _HALF_PLOT] * -(-len(pairs) // columns)
    key = _KEY_LINE * (len(facts.marks) + 4)
    figure = new_figure(sum(heights) + key)
    grid = figure.add_gridspec(len(heights) + 1, columns, height_ratios=[*heights, key])
    letters = [chr(ord("A") + i) for i in range(len(facts.marks))]
    cells = [figure.add_subplot(grid[divmod(index, columns)]) for index in range(len(pairs))]
    for axes, pair in zip(cells, pairs, strict=True):
        _draw_pair(axes, facts, pair)
    if len(pairs) == 1:
        _draw_front_line(cells[0], facts.front)
    _draw_key(figure.add_subplot(grid[-1, :]), facts, letters)
    for axes, pair in zip(cells, pairs, strict=True):
        named = zip(facts.marks, letters, strict=True)
        draw_labels(figure, axes, [_label(mark, letter, pair) for mark, letter in named])
    return figure


def _draw_pair(axes: Axes, facts: ParetoFacts, pair: tuple[int, int]) -> None:
    x, y = pair
    _scatter(axes, facts.candidates, pair, _CANDIDATE, opacity=0.55)
    _scatter(axes, facts.front, pair, _FRONT)
    for depth, kind in enumerate(reversed(STYLES), start=4):
        points = [mark.point for mark in facts.marks if mark.kind is kind]
        _scatter(axes, points, pair, STYLES[kind], depth=depth, outlined=True)
    axes.margins(0.1)
    axes.locator_params(nbins=4)
    style_axes(axes, facts.skills[x], facts.skills[y])


def _scatter(
    axes: Axes,
    points: Sequence[Point],
    pair: tuple[int, int],
    style: Style,
    *,
    opacity: float = 1.0,
    depth: int = 1,
    outlined: bool = False,
) -> PathCollection:
    x, y = pair
    return axes.scatter(
        [point[x] for point in points],
        [point[y] for point in points],
        s=style.area,
        c=style.colour,
        marker=style.marker,
        alpha=opacity,
        zorder=depth,
        edgecolors=GROUND if outlined else "face",
        linewidths=0.8 if outlined else 0,
    )


def _draw_front_line(axes: Axes, front: Sequence[Point]) -> None:
    """Draw the edge of what the front dominates: with two skills it is a staircase."""
    corners = sorted(front[index] for index in nondominated(front))
    columns = [p[0] for p in corners], [p[1] for p in corners]
    axes.step(*columns, where="pre", color=_FRONT.colour, linewidth=1.2, alpha=0.6, zorder=2)


def _label(mark: Mark, words: str, pair: tuple[int, int]) -> Label:
    x, y = pair
    return Label(words, mark.point[x], mark.point[y], bold=mark.kind is BaselineKind.RELEASE)


def _legend(axes: Axes, facts: ParetoFacts) -> tuple[list[Artist], list[str]]:
    """One symbol for each kind of point in the picture, and its name."""
    marks = [(kind.value, style) for kind, style in STYLES.items() if any(mark.kind is kind for mark in facts.marks)]
    entries = [("candidate", _CANDIDATE), ("front", _FRONT), *marks]
    handles: list[Artist] = [_scatter(axes, [], (0, 1), style) for _, style in entries]
    return handles, [name for name, _ in entries]


def _draw_key(axes: Axes, facts: ParetoFacts, letters: Sequence[str]) -> None:
    """Explain the symbols and the letters."""
    axes.set_axis_off()
    handles, labels = _legend(axes, facts)
    spacing = {"handletextpad": 0.1, "columnspacing": 1.0, "borderpad": 0, "borderaxespad": 0}
    axes.legend(handles, labels, loc="upper left", ncols=3, frameon=False, **spacing)
    names = [drawable(mark.name, LABEL_LENGTH) for mark in facts.marks]
    for x, column in ((0.0, letters), (0.06, names)):
        axes.text(
            x,
            0.0,
            "\n".join(column),
            va="bottom",
            fontsize=SMALL,
            linespacing=1.35,
            transform=axes.transAxes,
            parse_math=False,
        )

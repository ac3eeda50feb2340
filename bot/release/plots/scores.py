"""Pictures of the scores and of the search's progress, as PNG bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from bot.release.plots.canvas import (
    BLUE,
    GREEN,
    GREY,
    LABEL_LENGTH,
    PURPLE,
    VERMILLION,
    new_figure,
    own_settings,
    style_axes,
    to_png,
)
from bot.release.plots.labels import Label, draw_labels, drawable
from bot.search.results import BaselineKind

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

Point = tuple[float, ...]


@dataclass(frozen=True)
class Mark:
    """A named model at its scores, one number per skill; `kind` is None for a release."""

    name: str
    kind: BaselineKind | None
    point: Point


@dataclass(frozen=True)
class ParetoFacts:
    """Scores on the search split that the picture of the front shows; higher is better.

    candidates: all that were scored on every item. front: those that no other one dominates. marks: releases and
    baselines.
    """

    skills: tuple[str, ...]
    candidates: tuple[Point, ...]
    front: tuple[Point, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class _Style:
    marker: str
    colour: str
    area: float  # square points


# In the order of the legend; earlier ones are drawn on top. Shapes differ as well as colours.
_STYLES: dict[BaselineKind | None, _Style] = {
    None: _Style("*", VERMILLION, 260),
    BaselineKind.SOURCE: _Style("s", GREEN, 64),
    BaselineKind.PLAIN: _Style("D", PURPLE, 56),
    BaselineKind.BASE: _Style("v", GREY, 70),
}
_FRONT = _Style("o", BLUE, 30)
_CANDIDATE = _Style("o", "#9fb3c2", 14)


def pareto_plot(facts: ParetoFacts) -> bytes:
    """PNG of the scores: faint candidates, the front, and named releases and baselines.

    Two skills fill the picture, with names at the points. More skills become a grid of pairs, with letters at the
    points and a key in the grid's last cell. A single skill is drawn against the number of candidates that score lower.
    """
    with own_settings():
        facts = _ranked(facts) if len(facts.skills) == 1 else facts
        return to_png(_pair_figure(facts) if len(facts.skills) == 2 else _grid_figure(facts))


def progress_plot(hypervolumes: Sequence[float]) -> bytes:
    """PNG of the front's hypervolume after each generation."""
    from matplotlib.ticker import MaxNLocator

    with own_settings():
        figure = new_figure(2.6)
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


def _pair_figure(facts: ParetoFacts) -> Figure:
    figure = new_figure(5.6)
    axes = figure.subplots()
    _draw_pair(axes, facts, (0, 1))
    _draw_front_line(axes, facts.front)
    handles, labels = _legend(axes, facts)
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False, handletextpad=0.2)
    draw_labels(figure, axes, [_label(mark, drawable(mark.name, LABEL_LENGTH), (0, 1)) for mark in facts.marks])
    return figure


def _grid_figure(facts: ParetoFacts) -> Figure:
    pairs = list(combinations(range(len(facts.skills)), 2))
    rows = len(pairs) // 2 + 1
    figure = new_figure(3.7 * rows)
    cells = list(figure.subplots(rows, 2, squeeze=False).flat)
    letters = [chr(ord("A") + i) for i in range(len(facts.marks))]
    for axes, pair in zip(cells, pairs, strict=False):
        _draw_pair(axes, facts, pair)
    for axes in cells[len(pairs) :]:
        axes.set_axis_off()
    _draw_key(cells[-1], facts, letters)
    for axes, pair in zip(cells, pairs, strict=False):
        named = zip(facts.marks, letters, strict=True)
        draw_labels(figure, axes, [_label(mark, letter, pair) for mark, letter in named])
    return figure


def _draw_pair(axes: Axes, facts: ParetoFacts, pair: tuple[int, int]) -> None:
    x, y = pair
    _scatter(axes, facts.candidates, pair, _CANDIDATE, opacity=0.55)
    _scatter(axes, facts.front, pair, _FRONT)
    for depth, kind in enumerate(reversed(_STYLES), start=4):
        points = [mark.point for mark in facts.marks if mark.kind is kind]
        _scatter(axes, points, pair, _STYLES[kind], depth=depth, outlined=True)
    axes.margins(0.1)
    style_axes(axes, facts.skills[x], facts.skills[y])


def _scatter(
    axes: Axes,
    points: Sequence[Point],
    pair: tuple[int, int],
    style: _Style,
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
        edgecolors="white" if outlined else "face",
        linewidths=0.8 if outlined else 0,
    )


def _draw_front_line(axes: Axes, front: Sequence[Point]) -> None:
    """Draw the edge of what the front dominates: with two skills it is a staircase."""
    corners = sorted(front)
    columns = [p[0] for p in corners], [p[1] for p in corners]
    axes.step(*columns, where="pre", color=_FRONT.colour, linewidth=1.2, alpha=0.6, zorder=2)


def _label(mark: Mark, words: str, pair: tuple[int, int]) -> Label:
    x, y = pair
    return Label(words, mark.point[x], mark.point[y], bold=mark.kind is None)


def _legend(axes: Axes, facts: ParetoFacts) -> tuple[list[Artist], list[str]]:
    """One symbol for each kind of point in the picture, and its name."""
    kinds = [kind for kind in _STYLES if any(mark.kind is kind for mark in facts.marks)]
    marks = [(kind.value if kind else "release", _STYLES[kind]) for kind in kinds]
    entries = [("candidate", _CANDIDATE), ("front", _FRONT), *marks]
    handles: list[Artist] = [_scatter(axes, [], (0, 1), style) for _, style in entries]
    return handles, [name for name, _ in entries]


def _draw_key(axes: Axes, facts: ParetoFacts, letters: Sequence[str]) -> None:
    """Explain the symbols and the letters in the grid's last cell."""
    handles, labels = _legend(axes, facts)
    axes.legend(handles, labels, loc="upper left", ncols=2, frameon=False, handletextpad=0.2, borderpad=0)
    names = [drawable(mark.name, LABEL_LENGTH) for mark in facts.marks]
    for x, column in ((0.03, letters), (0.1, names)):
        axes.text(
            x,
            0.68,
            "\n".join(column),
            va="top",
            fontsize=10,
            linespacing=1.5,
            transform=axes.transAxes,
            parse_math=False,
        )

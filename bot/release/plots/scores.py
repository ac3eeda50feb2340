"""The pictures of a card's scores and of its search, drawn from plain values into PNG bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations
from typing import TYPE_CHECKING, Any

from bot.release.plots.canvas import (
    BLUE,
    GREEN,
    GREY,
    LABEL_LENGTH,
    PURPLE,
    VERMILLION,
    dress,
    new_figure,
    own_settings,
    png,
)
from bot.release.plots.labels import Label, drawable, place

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, ...]


class MarkKind(StrEnum):
    """What a named point is; the order is that of the legend, and later ones are drawn below earlier ones."""

    RELEASE = "release"
    SOURCE = "source"
    PLAIN = "plain merge"
    BASE = "base"


@dataclass(frozen=True)
class Mark:
    """A model with a name, at its scores: one number per skill."""

    name: str
    kind: MarkKind
    point: Point


@dataclass(frozen=True)
class ParetoFacts:
    """All that the picture of the front shows, on the search split; higher is better.

    candidates: all that answered every item; front: those of them that none is better than; marks: the releases and
    the baselines.
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


# Told apart by shape as well as by colour.
_STYLES = {
    MarkKind.RELEASE: _Style("*", VERMILLION, 260),
    MarkKind.SOURCE: _Style("s", GREEN, 64),
    MarkKind.PLAIN: _Style("D", PURPLE, 56),
    MarkKind.BASE: _Style("v", GREY, 70),
}
_FRONT = _Style("o", BLUE, 30)
_CANDIDATE = _Style("o", "#9fb3c2", 14)


def pareto_plot(facts: ParetoFacts) -> bytes:
    """PNG of the scores: candidates faint, the front, releases and baselines named.

    Two skills fill the picture and the points carry their names. More skills become a grid of pairs in which
    the points carry letters, explained in the grid's last place. A single skill is drawn over how many
    candidates score lower.
    """
    with own_settings():
        facts = _ranked(facts) if len(facts.skills) == 1 else facts
        return png(_pair_figure(facts) if len(facts.skills) == 2 else _grid_figure(facts))


def progress_plot(hypervolumes: Sequence[float]) -> bytes:
    """PNG of the front's hypervolume after each generation."""
    from matplotlib.ticker import MaxNLocator

    with own_settings():
        figure = new_figure(2.6)
        axes = figure.subplots()
        generations = range(1, len(hypervolumes) + 1)
        axes.plot(generations, hypervolumes, color=_FRONT.colour, marker="o", markersize=4)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        dress(axes, "generation", "hypervolume")
        return png(figure)


def _ranked(facts: ParetoFacts) -> ParetoFacts:
    """A single skill as two: the score, and how many candidates score lower."""

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
    place(figure, axes, [_label(mark, drawable(mark.name, LABEL_LENGTH), (0, 1)) for mark in facts.marks])
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
        place(figure, axes, [_label(mark, letter, pair) for mark, letter in named])
    return figure


def _draw_pair(axes: Axes, facts: ParetoFacts, pair: tuple[int, int]) -> None:
    x, y = pair
    for style, cloud, opacity in ((_CANDIDATE, facts.candidates, 0.55), (_FRONT, facts.front, 1.0)):
        axes.scatter([p[x] for p in cloud], [p[y] for p in cloud], alpha=opacity, **_look(style))
    for depth, kind in enumerate(reversed(MarkKind), start=4):
        points = [mark.point for mark in facts.marks if mark.kind is kind]
        look = _look(_STYLES[kind]) | {"edgecolors": "white", "linewidths": 0.8}
        axes.scatter([p[x] for p in points], [p[y] for p in points], zorder=depth, **look)
    axes.margins(0.1)
    dress(axes, facts.skills[x], facts.skills[y])


def _look(style: _Style) -> dict[str, Any]:
    return {"s": style.area, "c": style.colour, "marker": style.marker, "linewidths": 0}


def _draw_front_line(axes: Axes, front: Sequence[Point]) -> None:
    """The edge of what the front dominates: with two skills it is a staircase."""
    corners = sorted(front)
    columns = [p[0] for p in corners], [p[1] for p in corners]
    axes.step(*columns, where="pre", color=_FRONT.colour, linewidth=1.2, alpha=0.6, zorder=2)


def _label(mark: Mark, words: str, pair: tuple[int, int]) -> Label:
    x, y = pair
    return Label(words, mark.point[x], mark.point[y], bold=mark.kind is MarkKind.RELEASE)


def _legend(axes: Axes, facts: ParetoFacts) -> tuple[list[Artist], list[str]]:
    """One symbol for each kind of point that the picture holds."""
    kinds = [kind for kind in MarkKind if any(mark.kind is kind for mark in facts.marks)]
    entries = [("candidate", _CANDIDATE), ("front", _FRONT), *((kind.value, _STYLES[kind]) for kind in kinds)]
    handles: list[Artist] = [axes.scatter([], [], **_look(style)) for _, style in entries]
    return handles, [name for name, _ in entries]


def _draw_key(axes: Axes, facts: ParetoFacts, letters: Sequence[str]) -> None:
    """The grid's last place: the symbols, and which letter is which model."""
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

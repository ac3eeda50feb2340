"""The picture of a search: where its candidates and its front lie, in two skills, as values that a template draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bot.search.results import FrontChoice

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 16, 44
TICKS = 5
"""Most spaces between the lines of an axis, about."""


@dataclass(frozen=True)
class CandidatePoint:
    """A candidate in the picture. x, y: its place, in pixels. title: its scores in words."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class FrontPoint(CandidatePoint):
    """A member of the front. recipe: its digest. number: as `shoal show` numbers it, from 1. chosen: it is shown.

    put_in: whether a model of the scores put it on the front, though others surpass it by measured scores.
    """

    recipe: str
    number: int
    chosen: bool
    put_in: bool


@dataclass(frozen=True)
class Tick:
    """A line of the grid: its place in pixels along its axis, and the score there."""

    place: float
    label: str


@dataclass(frozen=True)
class FrontPlot:
    """The picture. x_skill, y_skill: names of the axes. front: the chosen member comes last, so that it is on top.

    left_out: recipes that a model of the scores left out of the front, though none surpasses them by measured scores.
    """

    x_skill: str
    y_skill: str
    candidates: tuple[CandidatePoint, ...]
    left_out: tuple[CandidatePoint, ...]
    front: tuple[FrontPoint, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class _Axis:
    """Scores from `low` to `high` between two places in pixels."""

    low: float
    high: float
    start: float
    end: float

    def place(self, score: float) -> float:
        return round(self.start + (score - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self) -> tuple[Tick, ...]:
        """Lines at round scores, and what is written there."""
        step = _round_step((self.high - self.low) / TICKS)
        scores = [round(index * step, 9) for index in range(math.ceil(self.low / step), int(self.high / step) + 1)]
        return tuple(Tick(self.place(score), f"{score:g}") for score in scores)


def plot_front(
    skills: Sequence[str],
    points: Sequence[Sequence[float]],
    front: Sequence[tuple[str, Sequence[float]]],
    *,
    x_skill: str,
    y_skill: str,
    chosen: str | None,
    choice: FrontChoice | None = None,
) -> FrontPlot:
    """The picture of a search.

    points: scores of every candidate on the search split, in the order of `skills`. front: (recipe digest, scores).
    chosen: the digest that is shown beside the picture. choice: how a model of the scores chose the front. ValueError
    for a skill that is not among them.
    """
    column, row = skills.index(x_skill), skills.index(y_skill)
    shown = [*points, *(scores for _, scores in front)]
    across = _axis([scores[column] for scores in shown], LEFT, WIDTH - RIGHT)
    up = _axis([scores[row] for scores in shown], HEIGHT - BOTTOM, TOP)

    def title(scores: Sequence[float]) -> str:
        return ", ".join(f"{skill} {score:.3f}" for skill, score in zip(skills, scores, strict=True))

    def places(scores: Sequence[float]) -> tuple[float, float]:
        return across.place(scores[column]), up.place(scores[row])

    put_in, left_out = (choice.put_in, choice.left_out) if choice else ((), ())
    by_model = {one.recipe for one in put_in}
    members = [
        FrontPoint(
            *places(scores),
            f"front member {number}{', put in by the model' if recipe in by_model else ''}: {title(scores)}",
            recipe,
            number,
            recipe == chosen,
            recipe in by_model,
        )
        for number, (recipe, scores) in enumerate(front, 1)
    ]
    return FrontPlot(
        x_skill,
        y_skill,
        tuple(CandidatePoint(*places(scores), title(scores)) for scores in points),
        tuple(CandidatePoint(*places(one.scores), f"left out by the model: {title(one.scores)}") for one in left_out),
        tuple(sorted(members, key=lambda member: member.chosen)),
        across.ticks(),
        up.ticks(),
    )


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 2.5 or 5 times a power of ten that is not below `least` (above 0)."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least * 0.999)


def _axis(scores: Sequence[float], start: float, end: float) -> _Axis:
    """An axis with a little room on both sides of the scores."""
    low, high = min(scores, default=0.0), max(scores, default=1.0)
    room = 0.05 * (high - low) or 0.05
    return _Axis(low - room, high + room, start, end)

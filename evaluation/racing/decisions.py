"""Decides after each round of a race which candidates answer more items.

All candidates answer the same items in the same order, and each is decided on by itself. It is dropped if a fully
scored model is better in every skill, by a paired test on the items that both answered. Otherwise it is promoted to the
next round if its estimated scores on all items are probably not dominated; if they are it waits, and may be promoted
when more is known.
Racing: Maron & Moore, "Hoeffding races: accelerating model selection search", 1993.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from evaluation.errors import EvaluationError
from evaluation.racing.estimates import ItemModel
from evaluation.racing.item_response import Array

PROMISING = 0.5
"""A candidate is promoted if the chance that it is dominated is below this."""

FIRST_ROUND_ITEMS = 12

_DRAWS = 512
_POINTS_AT_ONCE = 64
"""Bounds the memory of one comparison: draws x points x skills."""


class RaceStatus(StrEnum):
    """The status of a candidate after a round."""

    PROMOTED = "promoted"
    WAITING = "waiting"
    DROPPED = "dropped"


@dataclass(frozen=True)
class Panel:
    """The columns of a score table (models × items): which task each item belongs to, and how tasks make up skills.

    tasks: index of each item's task. weights: tasks × skills, each task's share in each skill (columns add up to 1).
    sources: index of the data set of each task; two metrics of one lm-eval task have the same.
    Higher scores are better: metrics where lower is better are negated in the table.
    """

    tasks: tuple[int, ...]
    weights: Array
    sources: tuple[int, ...]

    def skills(self, rows: Array) -> Array:
        """Skill scores (models × skills) of models that answered all items."""
        of = self.membership
        scores: Array = rows @ of / of.sum(axis=0) @ self.weights
        return scores

    def deviations(self, of_tasks: Array) -> Array:
        """Standard deviations of skill scores (models × skills) from those of task scores (models × tasks).

        Errors of tasks from different sources are independent, so their squares add up. Tasks of one source share
        items; their errors are taken to be fully correlated, so that they add up themselves: the cautious choice.
        """
        of = np.asarray(np.array(self.sources)[:, None] == np.arange(max(self.sources) + 1), dtype=float)
        by_source = np.einsum("mt,ts,tg->msg", of_tasks, self.weights, of)  # models × skills × sources
        deviations: Array = np.sqrt((by_source**2).sum(axis=2))
        return deviations

    def errors(self, rows: Array) -> Array:
        """Standard errors of skill scores (models × skills) as those of all items like these.

        rows: models × items, NaN where there is no answer; the answers that there are tell how much items differ.
        """
        of = self.membership
        answered = np.maximum(~np.isnan(rows) @ of, 1)
        sums, squares = (np.nan_to_num(rows**power) @ of for power in (1, 2))
        variances = np.maximum(squares / answered - (sums / answered) ** 2, 0)
        return self.deviations(np.sqrt(variances / of.sum(axis=0)))

    @property
    def membership(self) -> Array:
        """Items × tasks, 1 where an item belongs to a task."""
        return np.asarray(np.array(self.tasks)[:, None] == np.arange(len(self.weights)), dtype=float)


@dataclass(frozen=True)
class ScoreEstimate:
    """A candidate's expected skill scores on all items, and their standard deviations."""

    means: tuple[float, ...]
    deviations: tuple[float, ...]


@dataclass(frozen=True)
class Decision:
    """A candidate's status, its estimate, and the chance that some fully scored model dominates it."""

    status: RaceStatus
    estimate: ScoreEstimate
    dominated: float


def round_ends(items: int, rounds: int) -> tuple[int, ...]:
    """The number of a task's items answered after each round: about twice as many as before, and at least one.

    Weak candidates show after a few items; only the best need many.
    """
    if items < 1 or rounds < 1:
        raise EvaluationError(f"rounds: got {rounds} rounds of {items} items: give at least 1 of each")
    return tuple(max(1, math.ceil(items / 2 ** (rounds - place))) for place in range(1, rounds + 1))


def count_rounds(items: Sequence[int], most: int) -> int:
    """The number of rounds for tasks of so many items, at most `most`.

    The first round has at least `FIRST_ROUND_ITEMS` of a task on average: fewer tell too little, and would cost as much
    as more, because every pass through a model reads all its weights.
    """
    fitting = (
        rounds
        for rounds in range(most, 1, -1)
        if sum(round_ends(count, rounds)[0] for count in items) >= FIRST_ROUND_ITEMS * len(items)
    )
    return next(fitting, 1)


def decide_candidate(row: Array, full: Array, panel: Panel, model: ItemModel, *, confidence: float) -> Decision:
    """Decide on a candidate, without regard to other candidates.

    row: its scores, NaN where there is no answer yet. full: models × items, the fully scored models that it competes
    with. confidence: that of the paired test by which candidates are dropped.
    """
    (estimate,) = estimate_scores(row[None], panel, model)
    dominated = float(chance_dominated([estimate], panel.skills(full))[0])
    if beaten_by_any(row, full, panel) >= confidence:
        return Decision(RaceStatus.DROPPED, estimate, dominated)
    return Decision(RaceStatus.PROMOTED if dominated < PROMISING else RaceStatus.WAITING, estimate, dominated)


def estimate_scores(candidates: Array, panel: Panel, model: ItemModel) -> tuple[ScoreEstimate, ...]:
    """Expected skill scores on all items, by the item response model."""
    predicted = model.predict(candidates)
    means, deviations = predicted.means @ panel.weights, panel.deviations(predicted.deviations)
    return tuple(
        ScoreEstimate(tuple(map(float, mean)), tuple(map(float, deviation)))
        for mean, deviation in zip(means, deviations, strict=True)
    )


def chance_dominated(estimates: Sequence[ScoreEstimate], points: Array) -> Array:
    """For each estimate the chance that one of the points (points × skills) is at least as good in every skill.

    It is the share of `_DRAWS` draws from independent normal distributions for which that holds. All estimates use the
    same draws, in every run, so that a search can be repeated.
    """
    draws = np.random.default_rng(0).standard_normal((_DRAWS, points.shape[1]))
    chances = []
    for estimate in estimates:
        drawn = np.array(estimate.means) + draws * np.array(estimate.deviations)
        dominated = np.zeros(_DRAWS, dtype=bool)
        for start in range(0, len(points), _POINTS_AT_ONCE):
            block = points[start : start + _POINTS_AT_ONCE]
            dominated |= (drawn[:, None, :] <= block[None]).all(axis=2).any(axis=1)
        chances.append(dominated.mean())
    return np.array(chances)


def beaten_by_any(row: Array, full: Array, panel: Panel) -> float:
    """Confidence that some fully scored model is better than a candidate in every skill.

    row: the candidate's scores, NaN where it has not answered. full: models × items. For each model and skill a paired
    z-test of the mean difference over all items, of which the answered ones are a sample without replacement (hence
    the factor 1 - n/N of the variance: with all items answered nothing is left to chance). A model is better in every
    skill with the confidence of its least certain skill (intersection-union, Berger 1982).
    """
    of = panel.membership
    seen = ~np.isnan(row)
    counts, sizes = seen @ of, of.sum(axis=0)
    # Each task gets one imagined item that the candidate wins by as much as items tell models apart. Without it, a few
    # equal differences would have no variance and look certain (Agresti & Min 2005 add such pairs).
    known = np.vstack([full, np.where(seen, row, full[:1])])
    ranges = np.array([_largest_difference(known[:, of[:, task] > 0]) for task in range(of.shape[1])])
    leads = np.where(seen, full - np.nan_to_num(row), 0.0)
    means = (leads @ of - ranges) / (counts + 1)
    variances = ((leads**2) @ of + ranges**2) / (counts + 1) - means**2
    errors = variances / (counts + 1) * np.maximum(0.0, 1 - counts / sizes)
    z = means @ panel.weights / np.maximum(panel.deviations(np.sqrt(errors)), 1e-12)  # models × skills
    strongest = float(z.min(axis=1).max())
    return 0.5 * (1 + math.erf(strongest / math.sqrt(2)))


def _largest_difference(scores: Array) -> float:
    """By how much one model may surpass another on an item of a task (models × items).

    Right and wrong answers differ by their whole range. Graded ones, such as similarities, may range far from item to
    item and differ little from model to model: the most that any item showed.
    """
    whole = float(np.ptp(scores))
    is_graded = not np.isin(scores, (scores.min(), scores.max())).all()
    return float(np.ptp(scores, axis=0).max()) if is_graded else whole

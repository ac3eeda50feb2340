"""Who goes on after a round of items: decisions on candidates of which only some answers are known.

Candidates meet on the same items in the same order. One that a fully scored model beats in every skill, by a paired
test on the items that both answered, leaves. Of the others those go on that are likely to be worth it by the estimate
of their scores on all items; the rest wait, and may go on once more is known.
Racing: Maron & Moore, "Hoeffding races: accelerating model selection search", 1993.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError
from evaluation.racing.estimates import ItemModel

Array = NDArray[Any]

PROMISING = 0.5
"""A candidate goes on if it is dominated with less than this chance: more likely not than so."""

_DRAWS = 512
_AT_ONCE = 64


class Standing(StrEnum):
    """What becomes of a candidate after a round."""

    GOES_ON = "goes on"
    WAITS = "waits"
    LEAVES = "leaves"


@dataclass(frozen=True)
class Panel:
    """The items of an exam in the order of the columns of a table of scores, and what they count.

    tasks: index of each item's task. weights: tasks × skills, each task's share in each skill (columns add up to 1).
    sources: index of where each task's items come from; it is the same for two metrics, say, of one lm-eval task.
    Scores in a table are turned so that higher is better.
    """

    tasks: tuple[int, ...]
    weights: Array
    sources: tuple[int, ...]

    def skills(self, rows: Array) -> Array:
        """Skill scores (rows × skills) of models that answered all items."""
        return self._means(rows) @ self.weights

    def deviations(self, of_tasks: Array) -> Array:
        """Standard deviations of skill scores (models × skills) from those of task scores (models × tasks).

        Tasks are independent, but those of one source rise and fall as one: answers to the same items are no two
        samples, and to take them for wholly alike errs on the side of doubt.
        """
        of = np.asarray(np.array(self.sources)[:, None] == np.arange(max(self.sources) + 1), dtype=float)
        shares = np.einsum("mt,ts,tg->msg", of_tasks, self.weights, of)
        deviations: Array = np.sqrt((shares**2).sum(axis=2))
        return deviations

    def _means(self, rows: Array) -> Array:
        of = self.membership
        means: Array = rows @ of / of.sum(axis=0)
        return means

    @property
    def membership(self) -> Array:
        """Items × tasks, 1 where an item is of a task."""
        return np.asarray(np.array(self.tasks)[:, None] == np.arange(len(self.weights)), dtype=float)


@dataclass(frozen=True)
class ScoreEstimate:
    """A candidate's expected skill scores on all items, and their standard deviations."""

    means: tuple[float, ...]
    deviations: tuple[float, ...]


@dataclass(frozen=True)
class Decision:
    """What becomes of a candidate, its estimate, and the chance that some fully scored model dominates it."""

    standing: Standing
    estimate: ScoreEstimate
    dominated: float


def round_ends(items: int, rounds: int) -> tuple[int, ...]:
    """How many of a task's items are answered after each round.

    Each round doubles them, for most candidates can be told early and the rest need many; the first asks at least one.
    """
    if items < 1 or rounds < 1:
        raise EvaluationError(f"rounds: got {rounds} rounds of {items} items: give at least 1 of each")
    return tuple(max(1, math.ceil(items / 2 ** (rounds - place))) for place in range(1, rounds + 1))


def decide(
    candidates: Array, full: Array, panel: Panel, model: ItemModel, *, confidence: float, at_least: int = 0
) -> tuple[Decision, ...]:
    """What becomes of each candidate.

    candidates: candidates × items, NaN where there is no answer yet. full: models × items, fully scored, among which
    they would have to stand. confidence: of the paired test by which one leaves. at_least: so many of them go on
    if they do not leave, the most promising first: what they answer in full is what the estimates learn from.
    """
    if not len(candidates):
        return ()
    points = panel.skills(full)
    estimates = estimate(candidates, panel, model)
    doomed = chance_dominated(estimates, points)
    beaten = np.array([beaten_by_any(row, full, panel) for row in candidates])
    hopeful = [index for index in np.argsort(doomed, kind="stable") if beaten[index] < confidence]
    chosen = {index for place, index in enumerate(hopeful) if doomed[index] < PROMISING or place < at_least}
    return tuple(
        Decision(_standing(index in chosen, beaten[index] >= confidence), guess, float(doomed[index]))
        for index, guess in enumerate(estimates)
    )


def _standing(chosen: bool, beaten: bool) -> Standing:
    if beaten:
        return Standing.LEAVES
    return Standing.GOES_ON if chosen else Standing.WAITS


def estimate(candidates: Array, panel: Panel, model: ItemModel) -> tuple[ScoreEstimate, ...]:
    """Skill scores on all items as the items' model expects them."""
    predicted = model.predict(candidates)
    means, deviations = predicted.means @ panel.weights, panel.deviations(predicted.deviations)
    return tuple(
        ScoreEstimate(tuple(map(float, mean)), tuple(map(float, deviation)))
        for mean, deviation in zip(means, deviations, strict=True)
    )


def chance_dominated(estimates: Sequence[ScoreEstimate], points: Array) -> Array:
    """Chance for each estimate that one of the points is at least as good in every skill.

    The share of `_DRAWS` draws from independent normal distributions; the same draws for all, and in every run.
    """
    draws = np.random.default_rng(0).standard_normal((_DRAWS, points.shape[1]))
    chances = []
    for guess in estimates:
        drawn = np.array(guess.means) + draws * np.array(guess.deviations)
        covered = np.zeros(_DRAWS, dtype=bool)
        for start in range(0, len(points), _AT_ONCE):
            block = points[start : start + _AT_ONCE]
            covered |= (drawn[:, None, :] <= block[None]).all(axis=2).any(axis=1)
        chances.append(covered.mean())
    return np.array(chances)


def beaten_by_any(row: Array, full: Array, panel: Panel) -> float:
    """Confidence that some fully scored model is better than a candidate in every skill, on the items it answered.

    For each skill a paired z-test of the mean difference over all of the exam's items, of which those seen are a
    sample without replacement. One imagined item of each task that the candidate wins by the task's whole range keeps
    a few equal differences from looking certain, as Agresti & Min (2005) do for pairs. A model is better in every
    skill if it is in the one of which that is least sure (Berger 1982).
    """
    of = panel.membership
    seen = ~np.isnan(row)
    counts, sizes = seen @ of, of.sum(axis=0)
    known = np.vstack([full, np.where(seen, row, full[:1])])
    ranges = np.array([np.ptp(known[:, of[:, task] > 0]) for task in range(of.shape[1])])
    gaps = np.where(seen, full - np.nan_to_num(row), 0.0)
    means = (gaps @ of - ranges) / (counts + 1)
    variances = ((gaps**2) @ of + ranges**2) / (counts + 1) - means**2
    errors = variances / (counts + 1) * np.maximum(0.0, 1 - counts / sizes)
    lead, doubt = means @ panel.weights, panel.deviations(np.sqrt(errors))
    scores = lead / np.maximum(doubt, 1e-12)
    weakest = float(scores.min(axis=1).max())
    return 0.5 * (1 + math.erf(weakest / math.sqrt(2)))

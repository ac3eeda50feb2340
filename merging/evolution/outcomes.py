"""The settings and results of a search, and the outcome of a recipe. Nothing here needs a numeric library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from merging.errors import MergingError
from merging.recipes.recipe import Recipe


@dataclass(frozen=True)
class Outcome:
    """The result of scoring a recipe.

    objectives: one score per skill, higher is better; None if scoring failed.
    failure: why it failed; None if it did not.
    seconds: the candidate's share of the wall time; recorded, so that a replay counts the same time.
    share: how much of the cost of a full scoring was spent on it, 1 for all of it.
    answered: share of the items that it was scored on.
    errors: standard error of each objective as a score of many more items like these, 0 for one that is exact; None if
        unknown.
    estimated: whether the objectives are expected, not measured: they guide the search, and are never on a front.
    waiting: whether it may yet be scored in full: the recipe is sent again with the next generation.
    """

    objectives: tuple[float, ...] | None
    failure: str | None
    seconds: float
    share: float = 1.0
    estimated: bool = False
    waiting: bool = False
    answered: float = 1.0
    errors: tuple[float, ...] | None = None

    @property
    def is_measured(self) -> bool:
        """Whether the recipe was scored in full, with success."""
        return self.objectives is not None and not self.estimated


@dataclass(frozen=True)
class SearchSettings:
    """The settings of a search.

    population: candidates per generation.
    candidates: budget of full scorings; where some recipes take only a share of one, more of them are tried.
    minutes: budget of time, the sum of the outcomes' seconds; None for no limit.
    seed: seed of all random draws.
    surrogate: whether a model of the scores so far chooses what is scored next.
    """

    population: int
    candidates: int
    minutes: float | None
    seed: int
    surrogate: bool = False

    def __post_init__(self) -> None:
        if self.population < 2:
            raise MergingError(f"population: got {self.population}: a generation needs at least 2 candidates")
        if self.candidates < 1:
            raise MergingError(f"candidates: got {self.candidates}: the budget must allow at least 1")
        if self.minutes is not None and not self.minutes > 0:
            raise MergingError(f"minutes: got {self.minutes}: give a time above 0, or none for no limit")
        if self.seed < 0:
            raise MergingError(f"seed: got {self.seed}: give 0 or more")


@dataclass(frozen=True)
class Scored:
    """A recipe with its newest outcome, and the index of the generation in which it was first sent."""

    recipe: Recipe
    outcome: Outcome
    generation: int

    @property
    def point(self) -> tuple[float, ...]:
        """Its objectives; empty where scoring failed."""
        return self.outcome.objectives or ()


@dataclass(frozen=True)
class Generation:
    """The state of a search after a generation.

    scored: number of recipes tried so far, failed ones included.
    hypervolume: volume that the front covers above the search's reference point; 0 while nothing has succeeded.
    front: as SearchResult's, of all recipes scored so far.
    spent: the budget spent so far, in full scorings.
    """

    index: int
    scored: int
    hypervolume: float
    front: tuple[Scored, ...]
    spent: float


@dataclass(frozen=True)
class SearchResult:
    """Everything that a search found.

    scored: every recipe that was tried, once each, in the order of trying, with the newest outcome.
    front: those measured in full and not dominated by another, best in the first objective first, ties by digest.
    stopped: the reason why the search ended.
    reference: the point above which hypervolume was measured; None if nothing has succeeded.
    """

    scored: tuple[Scored, ...]
    front: tuple[Scored, ...]
    generations: tuple[Generation, ...]
    stopped: str
    reference: tuple[float, ...] | None


Evaluate = Callable[[Sequence[Recipe]], Sequence[Outcome]]
"""Scores recipes: one outcome for each, in the same order."""


def check_outcomes(outcomes: Sequence[Outcome], asked: int, objectives: int) -> tuple[Outcome, ...]:
    """The outcomes of `asked` recipes, with a score that is not finite made a failure.

    MergingError for wrong answers of an evaluator: a wrong number of outcomes or scores, impossible times or shares.
    """
    if len(outcomes) != asked:
        raise MergingError(f"evaluate: got {len(outcomes)} outcomes for {asked} recipes: give one each, in order")
    return tuple(_check_outcome(outcome, objectives) for outcome in outcomes)


def _check_outcome(outcome: Outcome, objectives: int) -> Outcome:
    if not (math.isfinite(outcome.seconds) and outcome.seconds >= 0):
        raise MergingError(f"evaluate: got {outcome.seconds} seconds: give a finite time, 0 or more")
    if not 0 <= outcome.share <= 1:
        raise MergingError(f"evaluate: got a share of {outcome.share}: give 0 to 1")
    if outcome.objectives is None:
        return replace(outcome, failure=outcome.failure or "no scores, and no reason given")
    if len(outcome.objectives) != objectives:
        raise MergingError(f"evaluate: got {len(outcome.objectives)} scores: give one for each of {objectives}")
    odd = [f"score {place} is {score}" for place, score in enumerate(outcome.objectives) if not math.isfinite(score)]
    if odd:
        return Outcome(None, ", ".join(odd), outcome.seconds, outcome.share, answered=outcome.answered)
    if outcome.errors is not None and not (
        len(outcome.errors) == objectives and all(0 <= error < math.inf for error in outcome.errors)
    ):
        raise MergingError(f"evaluate: got the errors {outcome.errors}: give {objectives} finite ones, 0 or more")
    return outcome

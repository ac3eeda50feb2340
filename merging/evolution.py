"""The search itself: NSGA-II on a grid of genes, as a pure function of space, settings and outcomes.

It knows neither models nor tasks: it is handed a function that scores recipes. Run again with the same
outcomes it takes the same way, which is how an interrupted search resumes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from merging.breeder import Breeder, Space
from merging.dataflow.path import AnyRecipe
from merging.errors import MergingError
from merging.pareto import hypervolume, nondominated


@dataclass(frozen=True)
class Outcome:
    """What came of scoring a recipe.

    objectives: one score per skill, higher is better; None if scoring failed.
    failure: why, in words; None if it did not fail.
    seconds: the candidate's share of the wall time; recorded, so that a replay counts the same time.
    share: how much of the full scoring was spent on it, 1 for all of it.
    estimated: the objectives are expected, not measured: they guide the search, and are never on a front.
    waiting: it may yet be scored in full: the recipe is sent again with the next generation.
    """

    objectives: tuple[float, ...] | None
    failure: str | None
    seconds: float
    share: float = 1.0
    estimated: bool = False
    waiting: bool = False


@dataclass(frozen=True)
class Settings:
    """How to search.

    population: candidates per generation.
    candidates: budget of full scorings; where some recipes take a share only, more of them are tried.
    minutes: budget of time, the sum of the outcomes' seconds; None for no limit.
    """

    population: int
    candidates: int
    minutes: float | None
    seed: int

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
    """A recipe with what came of it, and the index of the generation that scored it."""

    recipe: AnyRecipe
    outcome: Outcome
    generation: int


@dataclass(frozen=True)
class Generation:
    """Where the search stands after a generation.

    scored: recipes tried so far, failed ones included. spent: of the budget, in full scorings.
    hypervolume: of the front, above the reference point of the search; 0 while nothing has succeeded.
    front: as SearchResult's, of all scored so far.
    """

    index: int
    scored: int
    hypervolume: float
    front: tuple[Scored, ...]
    spent: float


@dataclass(frozen=True)
class SearchResult:
    """A search's end.

    scored: every recipe that was tried, once each, in the order of trying, with the newest outcome.
    front: those measured in full that no other such dominates, the best in the first objective first, ties by digest.
    stopped: the reason, in words. reference: the point above which hypervolume was measured, if one was found.
    """

    scored: tuple[Scored, ...]
    front: tuple[Scored, ...]
    generations: tuple[Generation, ...]
    stopped: str
    reference: tuple[float, ...] | None


Evaluate = Callable[[Sequence[AnyRecipe]], Sequence[Outcome]]


def evolve(
    space: Space,
    settings: Settings,
    evaluate: Evaluate,
    *,
    objectives: int,
    reference: Sequence[float] | None = None,
    earlier: SearchResult | None = None,
    on_generation: Callable[[Generation], None] | None = None,
) -> SearchResult:
    """Search a space for recipes that are not dominated in `objectives` scores.

    evaluate is given one generation at a time and answers in the same order; behind it come the recipes that wait
    (`Outcome.waiting`), and no other is sent twice. Once nothing new can be bred it is given those alone. What it
    raises passes through: calling again with the outcomes so far answered from a record resumes the search.
    An outcome with a score that is not finite counts as failed.

    reference: the point above which hypervolume is measured, such as 0 for rates. Without one it is fixed by
    the first generation that has a success: from the lowest score of the single models in each objective
    (of all candidates, if no single model succeeded), a tenth of their spread lower, so that sources at the
    ends of the front count too.

    earlier: a search in another space that this one goes on from, with as many objectives. What it scored competes
    for the front, is in the result and is not scored again; the budget is this search's own.
    """
    before = earlier.scored if earlier else ()
    ask = _remembering(evaluate, before, objectives)
    breeder = Breeder(space, objectives, population=settings.population, seed=settings.seed)
    scored: list[Scored] = []
    individuals: list[Any] = []
    generations = list(earlier.generations) if earlier else []
    corner = tuple(reference) if reference else earlier.reference if earlier else None
    while True:
        allowed, spent = _allowance(settings, scored)
        asked = breeder.ask() if allowed else []
        waiting = [index for index, one in enumerate(scored) if one.outcome.waiting] if allowed else []
        batch = [*asked[:allowed]]
        if not (batch or waiting):
            return _result(_joined(before, scored), generations, breeder.exhausted if allowed else spent, corner)
        index = len(generations)
        fresh = list(map(breeder.decode, batch))
        recipes = fresh + [scored[place].recipe for place in waiting]
        outcomes = ask(recipes)
        told = batch + [individuals[place] for place in waiting]
        _record(scored, fresh, waiting, outcomes, index)
        individuals += batch
        corner = corner or _reference(space, scored)
        generations.append(_generation(index, _joined(before, scored), corner))
        if on_generation is not None:
            on_generation(generations[-1])
        if len(batch) < len(asked) or not batch:
            return _result(_joined(before, scored), generations, spent if batch else breeder.exhausted, corner)
        breeder.tell(told, [outcome.objectives for outcome in outcomes])


def _remembering(
    evaluate: Evaluate, before: Sequence[Scored], objectives: int
) -> Callable[[Sequence[AnyRecipe]], tuple[Outcome, ...]]:
    """The function that evaluates, checked; what was measured before is answered at no cost."""
    known = {one.recipe.digest: replace(one.outcome, seconds=0.0, share=0.0) for one in before if _measured(one)}

    def answered(recipes: Sequence[AnyRecipe]) -> tuple[Outcome, ...]:
        new = [recipe for recipe in recipes if recipe.digest not in known]
        fresh = iter(_checked(evaluate(new), len(new), objectives) if new else ())
        return tuple(known.get(recipe.digest) or next(fresh) for recipe in recipes)

    return answered


def _joined(before: Sequence[Scored], scored: Sequence[Scored]) -> tuple[Scored, ...]:
    """What two searches scored, each recipe once, as the first one scored it where it measured it in full."""
    measured = {one.recipe.digest for one in before if _measured(one)}
    again = {one.recipe.digest for one in scored} - measured
    return (
        *(one for one in before if one.recipe.digest not in again),
        *(one for one in scored if one.recipe.digest not in measured),
    )


def _record(
    scored: list[Scored], fresh: Sequence[AnyRecipe], waiting: Sequence[int], outcomes: Sequence[Outcome], index: int
) -> None:
    """Add a generation's outcomes to those so far; the last ones are news of those that waited."""
    for place, outcome in zip(waiting, outcomes[len(fresh) :], strict=True):
        scored[place] = replace(scored[place], outcome=outcome)
    scored += [Scored(recipe, outcome, index) for recipe, outcome in zip(fresh, outcomes[: len(fresh)], strict=True)]


def _allowance(settings: Settings, scored: Sequence[Scored]) -> tuple[int, str]:
    """How many candidates the budget still allows, and what to say when it is spent.

    Time and shares are foreseen from the mean so far, so that the last batch is cut rather than the limit overrun;
    the first generation, of which nothing is known, is scored whole.
    """
    by_count = f"the budget of {settings.candidates} candidates is spent"
    spent, count = _spent(scored), sum(one.outcome.share > 0 for one in scored)
    # Rounded, or the last bit of a sum of shares would decide.
    left = max(0, math.floor(round((settings.candidates - spent) * count / spent, 6) if spent else settings.candidates))
    seconds = sum(one.outcome.seconds for one in scored)
    if settings.minutes is None or not seconds:
        return left, by_count
    in_time = max(0, math.floor((settings.minutes * 60 - seconds) * count / seconds))
    if in_time < left:
        return in_time, f"the budget of {settings.minutes:g} minutes is spent"
    return left, by_count


def _checked(outcomes: Sequence[Outcome], asked: int, objectives: int) -> tuple[Outcome, ...]:
    """The outcomes, those with a score that is no finite number as failures."""
    if len(outcomes) != asked:
        raise MergingError(f"evaluate: got {len(outcomes)} outcomes for {asked} recipes: give one each, in order")
    return tuple(_checked_one(outcome, objectives) for outcome in outcomes)


def _checked_one(outcome: Outcome, objectives: int) -> Outcome:
    if not (math.isfinite(outcome.seconds) and outcome.seconds >= 0):
        raise MergingError(f"evaluate: got {outcome.seconds} seconds: give a finite time, 0 or more")
    if not 0 <= outcome.share <= 1:
        raise MergingError(f"evaluate: got a share of {outcome.share}: give 0 to 1")
    if outcome.objectives is None:
        return replace(outcome, failure=outcome.failure or "no scores, and no reason given")
    if len(outcome.objectives) != objectives:
        raise MergingError(f"evaluate: got {len(outcome.objectives)} scores: give one for each of {objectives}")
    odd = [f"score {place} is {score}" for place, score in enumerate(outcome.objectives) if not math.isfinite(score)]
    return Outcome(None, ", ".join(odd), outcome.seconds, outcome.share) if odd else outcome


def _reference(space: Space, scored: Sequence[Scored]) -> tuple[float, ...] | None:
    """The reference point for hypervolume, as evolve's docstring has it; None while nothing has succeeded."""
    singles = {recipe.digest for recipe in space.singles()}
    succeeded = [one for one in scored if _measured(one)]
    chosen = [one for one in succeeded if one.recipe.digest in singles] or succeeded
    if not chosen:
        return None
    scores = np.array([one.outcome.objectives for one in chosen])
    lowest, spread = scores.min(axis=0), np.ptp(scores, axis=0)
    # Where all are equal, or there is one only, its size stands in for the spread.
    margin = np.where(spread > 0, spread, np.where(lowest != 0, np.abs(lowest), 1.0)) / 10
    return tuple(map(float, lowest - margin))


def _generation(index: int, scored: Sequence[Scored], corner: tuple[float, ...] | None) -> Generation:
    front = _front(scored)
    points = [one.outcome.objectives for one in front if one.outcome.objectives is not None]
    return Generation(index, len(scored), hypervolume(points, corner) if corner else 0.0, front, _spent(scored))


def _front(scored: Sequence[Scored]) -> tuple[Scored, ...]:
    succeeded = [(one.outcome.objectives or (), one) for one in scored if _measured(one)]
    best = [succeeded[index] for index in nondominated([scores for scores, _ in succeeded])]
    best.sort(key=lambda pair: (tuple(-score for score in pair[0]), pair[1].recipe.digest))
    return tuple(one for _, one in best)


def _spent(scored: Sequence[Scored]) -> float:
    return math.fsum(one.outcome.share for one in scored)


def _measured(one: Scored) -> bool:
    return one.outcome.objectives is not None and not one.outcome.estimated


def _result(
    scored: Sequence[Scored], generations: Sequence[Generation], stopped: str, reference: tuple[float, ...] | None
) -> SearchResult:
    return SearchResult(tuple(scored), _front(scored), tuple(generations), stopped, reference)

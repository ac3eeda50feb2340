"""The search itself: NSGA-II on a grid of genes, as a pure function of space, settings and outcomes.

It knows neither models nor tasks: it is handed a function that scores recipes. Run again with the same
outcomes it takes the same way, which is how an interrupted search resumes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from merging.errors import MergingError
from merging.evolution.optimizer import Optimizer
from merging.evolution.pareto import hypervolume, nondominated
from merging.recipes.path import Recipe
from merging.spaces.space import SearchSpace


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

    recipe: Recipe
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


Evaluate = Callable[[Sequence[Recipe]], Sequence[Outcome]]


def evolve(
    space: SearchSpace,
    settings: Settings,
    evaluate: Evaluate,
    *,
    objectives: int,
    reference: Sequence[float] | None = None,
    earlier: SearchResult | None = None,
    on_generation: Callable[[Generation], None] | None = None,
) -> SearchResult:
    """Search a space for recipes that are not dominated in `objectives` scores.

    evaluate is given one generation at a time (a part of one, where the budget nears its end) and answers in the same
    order; behind it come the recipes that wait (`Outcome.waiting`), and no other is sent twice. Once nothing new can be
    bred it is given those alone, once each and no more than can be scored in full. What it raises passes through:
    calling again with the outcomes so far answered from a record resumes the search. An outcome with a score that is
    not finite counts as failed.

    reference: the point above which hypervolume is measured, such as 0 for rates. Without one it is fixed by
    the first generation that has a success: from the lowest score of the single models in each objective
    (of all candidates, if no single model succeeded), a tenth of their spread lower, so that sources at the
    ends of the front count too.

    earlier: a search in another space that this one goes on from, with as many objectives. What it scored competes
    for the front, is in the result and is not scored again; the budget is this search's own.
    """
    before = earlier.scored if earlier else ()
    known = {one.recipe.digest: replace(one.outcome, seconds=0.0, share=0.0) for one in before if _measured(one)}
    optimizer = Optimizer(space, objectives, population=settings.population, seed=settings.seed)
    scored: list[Scored] = []
    individuals: list[Any] = []
    held: list[Any] = []
    generations = list(earlier.generations) if earlier else []
    corner = tuple(reference) if reference else earlier.reference if earlier else None
    while (budget := _budget(settings, scored)).candidates:
        asked = held or [*optimizer.ask()]
        batch, held = asked[: budget.candidates], asked[budget.candidates :]
        fresh = list(map(optimizer.decode, batch))
        # Beside recipes that are all known nobody is sent, for it would be as if nothing new could be bred.
        alone = bool(batch) and all(recipe.digest in known for recipe in fresh)
        waiting = [] if alone else _waiting(scored, budget.left - len(batch) * budget.each)
        if not (batch or waiting):
            break
        recipes = fresh + [scored[place].recipe for place in waiting]
        outcomes = _answers(evaluate, recipes, known, objectives)
        index = len(generations)
        _record(scored, fresh, waiting, outcomes, index, final=not batch)
        individuals += batch
        corner = corner or _reference(space, scored)
        generations.append(_generation(index, _joined(before, scored), corner))
        if on_generation is not None:
            on_generation(generations[-1])
        if batch:
            optimizer.tell(batch + [individuals[place] for place in waiting], [one.objectives for one in outcomes])
    over = not budget.candidates or any(one.outcome.waiting for one in scored)
    return _result(_joined(before, scored), generations, budget.words if over else optimizer.exhausted, corner)


def _waiting(scored: Sequence[Scored], left: float) -> list[int]:
    """The places of those that wait: of the most promising, as many as can be scored in full with what is left.

    The most promising are those whose estimates the fewest that were measured come up to in all objectives.
    """
    waiting = [place for place, one in enumerate(scored) if one.outcome.waiting]
    points = [one.outcome.objectives or () for one in scored if _measured(one)]
    waiting.sort(key=lambda place: sum(_as_good(point, scored[place].outcome.objectives or ()) for point in points))
    costs = np.cumsum([1 - scored[place].outcome.share for place in waiting])
    return waiting[: int(np.searchsorted(costs, left + 1e-9, side="right"))]


def _as_good(point: Sequence[float], other: Sequence[float]) -> bool:
    return all(mine >= theirs for mine, theirs in zip(point, other, strict=True))


def _answers(
    evaluate: Evaluate, recipes: Sequence[Recipe], known: Mapping[str, Outcome], objectives: int
) -> tuple[Outcome, ...]:
    """What comes of recipes, checked; what was measured in an earlier search is answered from there."""
    new = [recipe for recipe in recipes if recipe.digest not in known]
    fresh = iter(_checked(evaluate(new), len(new), objectives) if new else ())
    return tuple(known.get(recipe.digest) or next(fresh) for recipe in recipes)


def _joined(before: Sequence[Scored], scored: Sequence[Scored]) -> tuple[Scored, ...]:
    """What two searches scored, each recipe once, as the first one scored it where it measured it in full."""
    measured = {one.recipe.digest for one in before if _measured(one)}
    again = {one.recipe.digest for one in scored} - measured
    return (
        *(one for one in before if one.recipe.digest not in again),
        *(one for one in scored if one.recipe.digest not in measured),
    )


def _record(
    scored: list[Scored],
    fresh: Sequence[Recipe],
    waiting: Sequence[int],
    outcomes: Sequence[Outcome],
    index: int,
    *,
    final: bool,
) -> None:
    """Add a generation's outcomes to those so far; the last ones are news of those that waited.

    final: these are not sent again.
    """
    for place, outcome in zip(waiting, outcomes[len(fresh) :], strict=True):
        scored[place] = replace(scored[place], outcome=replace(outcome, waiting=outcome.waiting and not final))
    scored += [Scored(recipe, outcome, index) for recipe, outcome in zip(fresh, outcomes[: len(fresh)], strict=True)]


@dataclass(frozen=True)
class _Budget:
    """What is left of the budget, in full scorings; what a candidate is foreseen to take of it, and how many it allows;
    what to say when it is spent."""

    left: float
    each: float
    candidates: int
    words: str


def _budget(settings: Settings, scored: Sequence[Scored]) -> _Budget:
    """What the budget still allows.

    Time and shares are foreseen from the mean so far, so that a batch is cut rather than the limit overrun: what is cut
    comes next, if it turns out to be allowed after all. The first generation, of which nothing is known, is scored
    whole.
    """
    words = f"the budget of {settings.candidates} candidates is spent"
    spent, count = _spent(scored), sum(one.outcome.share > 0 for one in scored)
    left = settings.candidates - spent
    seconds = sum(one.outcome.seconds for one in scored)
    if settings.minutes is not None and seconds and spent:
        in_time = (settings.minutes * 60 - seconds) * spent / seconds
        if in_time < left:
            left, words = in_time, f"the budget of {settings.minutes:g} minutes is spent"
    # Rounded, or the last bit of a sum of shares would decide.
    allowed = max(0, math.floor(round(left * count / spent, 6) if spent else left))
    return _Budget(left, spent / count if spent else 1.0, allowed, words)


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


def _reference(space: SearchSpace, scored: Sequence[Scored]) -> tuple[float, ...] | None:
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

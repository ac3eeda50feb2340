"""The search itself: NSGA-II on a grid of genes, as a pure function of space, settings and outcomes.

It knows neither models nor tasks: it is given a function that scores recipes. Run again with the same outcomes, it
sends the same recipes in the same order, which is how an interrupted search resumes. With a journal it does so even
where another processor would round otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from merging.evolution.budget import Budget, remaining_budget, sum_shares
from merging.evolution.candidates import CandidateSource
from merging.evolution.carrying import carried_genomes
from merging.evolution.journal import Journal, NoJournal
from merging.evolution.optimizer import Individual, Optimizer
from merging.evolution.outcomes import (
    Evaluate,
    Generation,
    Outcome,
    Scored,
    SearchResult,
    SearchSettings,
    check_outcomes,
)
from merging.evolution.pareto import hypervolume, nondominated
from merging.evolution.surrogate.foresight import Exact, Foresight
from merging.recipes.recipe import Recipe
from merging.spaces.space import SearchSpace

Point = tuple[float, ...]


def evolve(
    space: SearchSpace,
    settings: SearchSettings,
    evaluate: Evaluate,
    *,
    objectives: int,
    reference: Sequence[float] | None = None,
    earlier: SearchResult | None = None,
    carried: Sequence[Recipe] = (),
    exact: Exact | None = None,
    journal: Journal | None = None,
    on_generation: Callable[[Generation], None] | None = None,
) -> SearchResult:
    """Search a space for recipes that are not dominated in `objectives` scores.

    evaluate: gets one generation at a time (a part of one, where the budget nears its end), followed by the recipes
        that wait (`Outcome.waiting`); no other recipe is sent twice. Once no new recipe can be found it gets the
        waiting ones alone, once each and no more than can be scored in full. What it raises passes through: calling
        again with the outcomes so far answered from a record resumes the search. An outcome with a score that is not
        finite counts as failed.
    reference: the point above which hypervolume is measured, such as 0 for rates. Without one it is fixed by the
        first generation that has a success (see `_choose_reference`).
    earlier: a search in another space that this one continues, with as many objectives. What it scored competes
        for the front, is in the result and is not scored again; the budget is this search's own.
    carried: recipes of earlier searches, the most important first, which part of the first population is made of.
    exact: the last objectives of a recipe, where they follow from it: a model of the scores need not learn them.
    journal: the record of what each generation asked for. What is in it is asked for again.
    """
    optimizer = Optimizer(
        space,
        objectives,
        population=settings.population,
        seed=settings.seed,
        carried=carried_genomes(space, carried, settings.population),
    )
    known = earlier.scored if earlier else ()
    foresight = Foresight(space, settings.seed, exact=exact, earlier=known) if settings.surrogate else None
    source = CandidateSource(space, optimizer, settings.population, foresight, journal or NoJournal())
    search = _Search(space, source, evaluate, objectives, tuple(reference) if reference else None, earlier)
    while (budget := remaining_budget(settings, search.scored)).candidates:
        batch, waiting = search.next_candidates(budget)
        if not (batch or waiting):
            break  # the space is searched through
        search.score_generation(batch, waiting)
        if on_generation is not None:
            on_generation(search.generations[-1])
    return search.result(budget)


class _Search:
    """The state of a search between generations.

    scored: this search's recipes, in the order of sending.
    generations: those of an earlier search, then this one's.
    """

    def __init__(
        self,
        space: SearchSpace,
        source: CandidateSource,
        evaluate: Evaluate,
        objectives: int,
        reference: Point | None,
        earlier: SearchResult | None,
    ) -> None:
        self._space, self._source, self._evaluate, self._objectives = space, source, evaluate, objectives
        self._optimizer = source.optimizer
        self._earlier = earlier.scored if earlier else ()
        # What an earlier search has measured costs this one nothing: neither time nor budget.
        self._known = {
            one.recipe.digest: replace(one.outcome, seconds=0.0, share=0.0, answered=0.0)
            for one in self._earlier
            if one.outcome.is_measured
        }
        self._reference = reference or (earlier.reference if earlier else None)
        self.scored: list[Scored] = []
        self._individuals: list[Individual] = []  # each at the index that its recipe has in `scored`
        self._cut: list[Individual] = []  # individuals that the optimiser gave, but the budget's forecast left out
        self.generations = list(earlier.generations) if earlier else []

    def next_candidates(self, budget: Budget) -> tuple[list[Individual], list[int]]:
        """The individuals to score next, and the indices in `scored` of the waiting recipes to send with them."""
        # Those that were cut from the last batch come first: the optimiser never gives an individual twice.
        asked = self._cut or self._source.ask(len(self.generations), self._reference)
        batch, self._cut = asked[: budget.candidates], asked[budget.candidates :]
        # If every recipe of the batch is already scored, waiting ones are not sent: `evaluate` would get them alone,
        # which means that no new recipe can be found and that they are sent for the last time.
        if batch and all(self._optimizer.decode(individual).digest in self._known for individual in batch):
            return batch, []
        return batch, _choose_waiting(self.scored, budget.left - len(batch) * budget.each)

    def score_generation(self, batch: list[Individual], waiting: list[int]) -> None:
        """Score new individuals and waiting recipes, record their outcomes and give them to the optimiser."""
        new = [self._optimizer.decode(individual) for individual in batch]
        outcomes = self._score(new + [self.scored[index].recipe for index in waiting])
        for index, outcome in zip(waiting, outcomes[len(new) :], strict=True):
            # Sent without a new batch they are sent for the last time, so they cannot wait any longer.
            outcome = replace(outcome, waiting=outcome.waiting and bool(batch))
            self.scored[index] = replace(self.scored[index], outcome=outcome)
        number = len(self.generations)
        self.scored += [
            Scored(recipe, outcome, number) for recipe, outcome in zip(new, outcomes[: len(new)], strict=True)
        ]
        self._individuals += batch
        self._reference = self._reference or _choose_reference(self._space, self.scored)
        self.generations.append(_describe_generation(number, self._all_scored(), self._reference))
        if batch:
            answered = batch + [self._individuals[index] for index in waiting]
            self._source.tell(answered, outcomes)

    def result(self, budget: Budget) -> SearchResult:
        """The result of the search. budget: its rest at the end, which says why the search stopped."""
        # Recipes that still wait were not scored in full because the budget did not allow it.
        is_spent = not budget.candidates or any(one.outcome.waiting for one in self.scored)
        stopped = budget.spent_message if is_spent else self._optimizer.describe_end()
        everything = self._all_scored()
        return SearchResult(everything, _find_front(everything), tuple(self.generations), stopped, self._reference)

    def _score(self, recipes: Sequence[Recipe]) -> tuple[Outcome, ...]:
        """The outcomes of recipes, in their order; those that an earlier search has measured are not sent."""
        unknown = [recipe for recipe in recipes if recipe.digest not in self._known]
        answers = check_outcomes(self._evaluate(unknown), len(unknown), self._objectives) if unknown else ()
        answer = iter(answers)
        return tuple(self._known.get(recipe.digest) or next(answer) for recipe in recipes)

    def _all_scored(self) -> tuple[Scored, ...]:
        """The recipes of the earlier search and of this one, each once.

        The earlier search's entry counts where it measured the recipe, this search's where it did not.
        """
        own = {one.recipe.digest for one in self.scored} - self._known.keys()
        return (
            *(one for one in self._earlier if one.recipe.digest not in own),
            *(one for one in self.scored if one.recipe.digest not in self._known),
        )


def _choose_waiting(scored: Sequence[Scored], left: float) -> list[int]:
    """The indices of the most promising waiting recipes, as many as can be scored in full with what is left.

    The most promising are those whose estimates the fewest measured recipes equal or exceed in all objectives.
    """
    waiting = [index for index, one in enumerate(scored) if one.outcome.waiting]
    measured = [one.point for one in scored if one.outcome.is_measured]
    waiting.sort(key=lambda index: sum(_is_as_good(point, scored[index].point) for point in measured))
    costs = np.cumsum([1 - scored[index].outcome.share for index in waiting])
    # A little more than is left, because sums of shares are rounded.
    return waiting[: int(np.searchsorted(costs, left + 1e-9, side="right"))]


def _is_as_good(point: Point, other: Point) -> bool:
    return all(mine >= theirs for mine, theirs in zip(point, other, strict=True))


def _choose_reference(space: SearchSpace, scored: Sequence[Scored]) -> Point | None:
    """The reference point for hypervolume; None while nothing has succeeded.

    In each objective it is a tenth of the single models' spread below their lowest score (all candidates', if no single
    model succeeded), so that sources at the ends of the front count too.
    """
    singles = {recipe.digest for recipe in space.singles()}
    succeeded = [one for one in scored if one.outcome.is_measured]
    chosen = [one for one in succeeded if one.recipe.digest in singles] or succeeded
    if not chosen:
        return None
    points = np.array([one.point for one in chosen])
    lowest, spread = points.min(axis=0), np.ptp(points, axis=0)
    # Where all scores are equal, or there is only one, there is no spread: take the score's size, or 1 if it is 0.
    margin = np.where(spread > 0, spread, np.where(lowest != 0, np.abs(lowest), 1.0)) / 10
    return tuple(map(float, lowest - margin))


def _describe_generation(number: int, scored: Sequence[Scored], reference: Point | None) -> Generation:
    front = _find_front(scored)
    volume = hypervolume([one.point for one in front], reference) if reference else 0.0
    return Generation(number, len(scored), volume, front, sum_shares(scored))


def _find_front(scored: Sequence[Scored]) -> tuple[Scored, ...]:
    measured = [one for one in scored if one.outcome.is_measured]
    front = [measured[index] for index in nondominated([one.point for one in measured])]
    return tuple(sorted(front, key=lambda one: ([-score for score in one.point], one.recipe.digest)))

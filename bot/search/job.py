"""The job of a search: everything it needs besides its spaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from merging.evolution.journal import Journal
from merging.evolution.outcomes import Evaluate, Generation, Outcome, Scored, SearchResult, SearchSettings
from merging.recipes.recipe import Recipe
from merging.spaces.space import SearchSpace

Cost = Callable[[Recipe], float]
"""What a recipe costs beside others: its layers relative to a source's, say."""

Validate = Callable[[Sequence[Recipe]], Sequence[tuple[float, ...] | None]]
"""Skill scores on the validation split; None for a recipe that cannot be scored."""


@dataclass(frozen=True)
class SearchJob:
    """A search without its spaces, which `evolve` is given.

    settings: population, budget and seed.
    evaluate: outcomes on the search split, with one objective for each skill.
    skills: number of skills.
    on_generation: called after every generation.
    carried: recipes of earlier cycles, the most important first, for the first population of every space that has them.
    known: recipes whose scores on all items were known before the search: they cost nothing, and compete for the front.
    journal: the record of what each generation asked for.
    """

    settings: SearchSettings
    evaluate: Evaluate
    validate: Validate
    skills: int
    on_generation: Callable[[Generation], None]
    carried: tuple[Recipe, ...] = ()
    known: tuple[Scored, ...] = ()
    journal: Journal | None = None

    def evolve(
        self,
        space: SearchSpace,
        settings: SearchSettings,
        *,
        cost: Cost | None = None,
        earlier: SearchResult | None = None,
    ) -> SearchResult:
        """Search one space.

        cost: what a recipe costs, where less is one more objective; None where it is not.
        earlier: the result of an earlier stage, whose members compete for the front.
        """
        from merging.evolution.evolve import evolve  # pymoo and SciPy, which the page and reviews do without

        def evaluate(recipes: Sequence[Recipe]) -> Sequence[Outcome]:
            outcomes = self.evaluate(recipes)
            return outcomes if cost is None else add_cost(outcomes, recipes, cost)

        return evolve(
            space,
            settings,
            evaluate,
            objectives=self.skills + (cost is not None),
            earlier=earlier or self._before(cost),
            carried=self.carried,
            exact=None if cost is None else lambda recipe: (-cost(recipe),),
            journal=self.journal,
            on_generation=self.on_generation,
        )

    def _before(self, cost: Cost | None) -> SearchResult | None:
        """What is known before the first stage, as the result of an earlier search; None for nothing."""
        if not self.known:
            return None
        recipes, outcomes = [one.recipe for one in self.known], [one.outcome for one in self.known]
        if cost is not None:
            outcomes = add_cost(outcomes, recipes, cost)
        scored = tuple(replace(one, outcome=outcome) for one, outcome in zip(self.known, outcomes, strict=True))
        return SearchResult(scored, (), (), "", None)


def add_cost(outcomes: Sequence[Outcome], recipes: Sequence[Recipe], cost: Cost) -> list[Outcome]:
    """Add the cost to the objectives of outcomes, negated, because less is better."""

    def costed(outcome: Outcome, recipe: Recipe) -> Outcome:
        if outcome.objectives is None:
            return outcome
        errors = None if outcome.errors is None else (*outcome.errors, 0.0)
        return replace(outcome, objectives=(*outcome.objectives, -cost(recipe)), errors=errors)

    return [costed(outcome, recipe) for outcome, recipe in zip(outcomes, recipes, strict=True)]

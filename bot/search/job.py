"""The job of a search: everything it needs besides its spaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from merging.evolution.evolve import evolve
from merging.evolution.outcomes import Evaluate, Generation, Outcome, SearchResult, SearchSettings
from merging.recipes.recipe import Recipe
from merging.spaces.space import SearchSpace

Validate = Callable[[Sequence[Recipe]], Sequence[tuple[float, ...] | None]]
"""Skill scores on the validation split; None for a recipe that cannot be scored."""


@dataclass(frozen=True)
class SearchJob:
    """A search without its spaces, which `evolve` is given.

    settings: population, budget and seed.
    evaluate: outcomes on the search split, with one objective for each skill.
    skills: number of skills.
    on_generation: called after every generation.
    """

    settings: SearchSettings
    evaluate: Evaluate
    validate: Validate
    skills: int
    on_generation: Callable[[Generation], None]

    def evolve(
        self,
        space: SearchSpace,
        settings: SearchSettings,
        *,
        layers: int | None = None,
        earlier: SearchResult | None = None,
    ) -> SearchResult:
        """Search one space.

        layers: the depth of a source where fewer layers are one more objective; None where they are not.
        earlier: the result of an earlier stage, whose members compete for the front.
        """

        def evaluate(recipes: Sequence[Recipe]) -> Sequence[Outcome]:
            outcomes = self.evaluate(recipes)
            return outcomes if layers is None else add_depth(outcomes, recipes, layers)

        return evolve(
            space,
            settings,
            evaluate,
            objectives=self.skills + (layers is not None),
            earlier=earlier,
            on_generation=self.on_generation,
        )


def add_depth(outcomes: Sequence[Outcome], recipes: Sequence[Recipe], layers: int) -> list[Outcome]:
    """Add an objective to outcomes: depth relative to a source's `layers`, negated, because fewer are better."""
    return [
        one if one.objectives is None else replace(one, objectives=(*one.objectives, -recipe.depth / layers))
        for one, recipe in zip(outcomes, recipes, strict=True)
    ]

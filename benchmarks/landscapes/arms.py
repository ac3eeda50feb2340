"""Searches that compete on a landscape: evolution as the bot runs it, CMA-ES as others do, and chance.

Each gives the recipes that it had scored on the search split, in their order; all of them know the space's seeds
(sources alone, plain merges) from the start, and count them as tries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.landscapes.landscape import Landscape, Point
from evaluation.splits import Split
from merging.evolution.evolve import evolve
from merging.evolution.outcomes import Outcome, SearchSettings
from merging.recipes.recipe import Recipe
from merging.spaces.space import Genome

POPULATION = 20
STEP_SIZE = 0.2
"""CMA-ES' first one, with all genes scaled to 0 to 1."""

FOCUS = 0.6
"""Weight of one skill in a sum that is about this one; the others share the rest."""

STALLED = 100
"""Generations without a new recipe after which CMA-ES is taken to have ended."""


@dataclass(frozen=True)
class Step:
    """What a search did next: item scores that it asked for, and recipes that have all of theirs since."""

    item_scores: int
    recipes: tuple[Recipe, ...]


Arm = Callable[[Landscape, int, int], list[Step]]
"""Takes a landscape, a seed and a budget of full scorings."""


class Tries:
    """Recipes that a search has scored, each once, until its budget is spent."""

    def __init__(self, landscape: Landscape, budget: int) -> None:
        self._landscape, self._budget = landscape, budget
        self._points: dict[str, Point] = {}
        self.steps: list[Step] = []

    @property
    def left(self) -> int:
        """How many more it may have."""
        return self._budget - len(self.steps)

    def point(self, recipe: Recipe) -> Point | None:
        """The scores of a recipe; None if it is new and the budget is spent."""
        if recipe.digest not in self._points and self.left:
            self.steps.append(Step(self._landscape.items, (recipe,)))
            self._points[recipe.digest] = self._landscape.score(recipe, Split.SEARCH)
        return self._points.get(recipe.digest)


def evolution(**settings: object) -> Arm:
    """The bot's own search. settings: those of `SearchSettings` besides the budget's and the seed."""

    def search(landscape: Landscape, seed: int, budget: int) -> list[Step]:
        tries = Tries(landscape, budget)

        def evaluate(recipes: Sequence[Recipe]) -> list[Outcome]:
            return [Outcome(tries.point(recipe), None, 0.0) for recipe in recipes]

        chosen = SearchSettings(POPULATION, budget, None, seed, **settings)  # type: ignore[arg-type]
        evolve(landscape.space, chosen, evaluate, objectives=landscape.skills)
        return tries.steps

    return search


def cma_es(weightings: Callable[[int], Sequence[Point]]) -> Arm:
    """CMA-ES (Hansen 2016) on weighted sums of the skills, a search for each, one generation of each in turn.

    weightings: from the number of skills to the weights of each sum. Genomes are rounded to the grid; each search
    begins at the best seed of its sum, and anew from a random genome where it has converged.
    """

    def search(landscape: Landscape, seed: int, budget: int) -> list[Step]:
        tries, space = Tries(landscape, budget), landscape.space
        strangers = space.random_genomes(np.random.default_rng([seed, 1]))
        seeds = [(genome, tries.point(space.decode(genome))) for genome in space.seeds()]
        known = [(genome, point) for genome, point in seeds if point is not None]
        sums = [np.array(weights) for weights in weightings(landscape.skills)]
        begins = [max(known, key=lambda one: float(weights @ one[1]))[0] for weights in sums]
        climbers = [_Climber(space.levels, begin, seed, number) for number, begin in enumerate(begins)]
        stalled = 0
        while tries.left and stalled < STALLED:
            before = tries.left
            for number, weights in enumerate(sums):
                if climbers[number].converged:
                    climbers[number] = _Climber(space.levels, next(strangers), seed, number + tries.left * len(sums))
                climbers[number].climb(
                    lambda genome, weights=weights: _weighed(tries.point(space.decode(genome)), weights)
                )
            stalled = stalled + 1 if tries.left == before else 0
        return tries.steps

    return search


def chance(landscape: Landscape, seed: int, budget: int) -> list[Step]:
    """The space's seeds, and random genomes ever after."""
    tries, space = Tries(landscape, budget), landscape.space
    strangers = space.random_genomes(np.random.default_rng([seed, 1]))
    for genome in _seeds_then(space.seeds(), strangers):
        if tries.point(space.decode(genome)) is None:
            return tries.steps
    raise AssertionError("random genomes have no end")


def the_mean(skills: int) -> list[Point]:
    """All skills alike."""
    return [(1 / skills,) * skills]


def several_weightings(skills: int) -> list[Point]:
    """All skills alike, and each of them above the others."""
    rest = (1 - FOCUS) / max(1, skills - 1)
    about = [tuple(FOCUS if one == other else rest for other in range(skills)) for one in range(skills)]
    return [*the_mean(skills), *(about if skills > 1 else ())]


class _Climber:
    """One CMA-ES on genomes scaled to the unit cube."""

    def __init__(self, levels: Sequence[int], begin: Genome, seed: int, number: int) -> None:
        import cma  # it brings matplotlib along, and only these arms need it

        self._top = np.array(levels) - 1
        options = {"bounds": [0, 1], "seed": 1 + 1000 * seed + number, "verbose": -9}
        self._strategy = cma.CMAEvolutionStrategy(np.array(begin) / self._top, STEP_SIZE, options)

    @property
    def converged(self) -> bool:
        """Whether it has nothing more to find."""
        return bool(self._strategy.stop())

    def climb(self, value: Callable[[Genome], float | None]) -> None:
        """One generation. value: what is to be large; None for a genome that cannot be scored any more."""
        asked = self._strategy.ask()
        values = [value(self._genome(one)) for one in asked]
        if None not in values:
            self._strategy.tell(asked, [-one for one in values if one is not None])

    def _genome(self, scaled: Sequence[float]) -> Genome:
        return tuple(int(index) for index in np.rint(np.clip(scaled, 0, 1) * self._top))


def _weighed(point: Point | None, weights: np.ndarray) -> float | None:
    return None if point is None else float(weights @ point)


def _seeds_then(seeds: Sequence[Genome], strangers: Iterator[Genome]) -> Iterator[Genome]:
    yield from seeds
    yield from strangers

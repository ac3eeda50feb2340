"""What a search begins with if recipes of earlier searches are carried over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from merging.evolution.carrying import carried_genomes
from merging.evolution.evolve import evolve
from merging.evolution.outcomes import Outcome, Scored, SearchResult, SearchSettings
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.recipe import Recipe
from merging.spaces.weight_merges import WeightMergeSpace

pytestmark = pytest.mark.slow

A, B, C = (ModelId(f"org/{name}", "0" * 40) for name in "abc")
SETTINGS = SearchSettings(population=12, candidates=60, minutes=None, seed=0)


def space_of(method: str = "task_arithmetic", sources: Sequence[ModelId] = (A, B)) -> WeightMergeSpace:
    groups = Partition.even(4, 2, modules_apart=True, ends_apart=False)
    base = ModelId("org/base", "f" * 40)
    return WeightMergeSpace.build(
        method=method, sources=sources, base=base, groups=groups, dtype="float32", seed=0, step=0.05
    )


SPACE = space_of()


def near(*targets: float, asked: list[str] | None = None, space: WeightMergeSpace = SPACE):  # type: ignore[no-untyped-def]
    """One objective for each target: how near all weights are to it."""

    def evaluate(recipes: Sequence[Recipe]) -> list[Outcome]:
        if asked is not None:
            asked.extend(recipe.digest for recipe in recipes)
        weights = [np.array(space.encode(recipe)) * 0.05 for recipe in recipes]
        return [Outcome(tuple(-float(((row - target) ** 2).sum()) for target in targets), None, 1.0) for row in weights]

    return evaluate


def generation(result: SearchResult, index: int = 0) -> list[Recipe]:
    return [one.recipe for one in result.scored if one.generation == index]


def test_a_search_without_earlier_recipes_is_the_same_as_one_whose_earlier_recipes_mean_nothing_here() -> None:
    cold = evolve(SPACE, SETTINGS, near(0.4, 1.1), objectives=2)
    elsewhere = space_of("karcher").decode([1, 1])
    assert evolve(SPACE, SETTINGS, near(0.4, 1.1), objectives=2, carried=[elsewhere]) == cold
    seeds = [SPACE.decode(genome) for genome in SPACE.seeds()]
    assert generation(cold)[: len(seeds)] == seeds


def test_earlier_recipes_have_half_of_the_first_population_each_once_and_no_seed_twice() -> None:
    random = SPACE.random_genomes(np.random.default_rng(1))
    earlier = [SPACE.decode(next(random)) for _ in range(20)]
    seeds = [SPACE.decode(genome) for genome in SPACE.seeds()]
    given = [seeds[0], earlier[0], earlier[0], *earlier]
    assert [SPACE.decode(genome) for genome in carried_genomes(SPACE, given, 12)] == earlier[:6]
    first = generation(evolve(SPACE, SETTINGS, near(0.4, 1.1), objectives=2, carried=given))
    assert len(first) == 12 and set(first) >= {*earlier[:6], *seeds}

    few = generation(evolve(SPACE, SETTINGS, near(0.4, 1.1), objectives=2, carried=earlier[:2]))
    cold = generation(evolve(SPACE, SETTINGS, near(0.4, 1.1), objectives=2))
    assert few == [*seeds, *earlier[:2], *cold[len(seeds) : -2]]  # the random ones are those of a search without


def test_a_front_found_before_is_where_a_changed_problem_is_searched_from() -> None:
    before = evolve(SPACE, SETTINGS, near(0.4, 1.1), objectives=2)
    cold = evolve(SPACE, SETTINGS, near(0.45, 1.05), objectives=2)
    front = [one.recipe for one in before.front]
    warm = evolve(SPACE, SETTINGS, near(0.45, 1.05), objectives=2, carried=front)
    assert warm.generations[0].hypervolume > cold.generations[-1].hypervolume


def test_what_is_known_is_neither_asked_nor_paid_for_and_may_be_on_the_front() -> None:
    before = evolve(SPACE, SETTINGS, near(0.4, 1.1), objectives=2)
    known = tuple(
        Scored(one.recipe, Outcome(one.outcome.objectives, None, 0.0, 0.0, answered=0.0), 0) for one in before.front
    )
    wider, asked = space_of(sources=(A, B, C)), list[str]()
    with_known = evolve(
        wider,
        SETTINGS,
        near(0.4, 1.1, asked=asked, space=wider),
        objectives=2,
        earlier=SearchResult(known, (), (), "", None),
        carried=[one.recipe for one in known],
    )
    digests = {one.recipe.digest for one in known}
    assert not digests & set(asked) and len(asked) == len(set(asked)) == SETTINGS.candidates
    assert {one.recipe.digest for one in with_known.scored} == digests | set(asked)
    assert digests & {one.recipe.digest for one in with_known.front}
    assert sum(one.outcome.share for one in with_known.scored) == SETTINGS.candidates

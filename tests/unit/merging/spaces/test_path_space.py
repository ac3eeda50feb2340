from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import islice

import numpy as np
import pytest

from merging.errors import MergingError
from merging.evolution.evolve import evolve
from merging.evolution.outcomes import Outcome, SearchSettings
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.path import PathRecipe
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.paths import PathSpace

pytestmark = pytest.mark.slow

DEPTH = 4
A, B, C = (
    WeightMerge.single(ModelId(f"tiny/{name}", name * 40), Partition.even(DEPTH, 1, False, False), "float32")
    for name in "abc"
)


def hops(recipe: Recipe) -> list[tuple[str, int]]:
    """The way of a recipe: the letter of each layer's model, and the layer."""
    if isinstance(recipe, WeightMerge):
        return [(recipe.sources[0].location[-1], layer) for layer in range(DEPTH)]
    return [(recipe.parts[hop.part].sources[0].location[-1], hop.layer) for hop in recipe.hops]


def way(text: str) -> list[tuple[str, int]]:
    """ "a0 b1" as hops."""
    return [(step[0], int(step[1])) for step in text.split()]


def test_the_search_starts_with_each_model_s_own_pass_and_short_detours() -> None:
    space = PathSpace.build([A, B], tied=False)
    recipes = [space.decode(genome) for genome in space.seeds()]
    assert recipes[:2] == [A, B]
    ways = [hops(recipe) for recipe in recipes]
    for text in ("a0 a1 b2 a3", "a0 a1 b2 b3", "b0 b1 a2 b3", "a0 a1 a2 a2 a3"):
        assert way(text) in ways
    scales = {hop.scale for recipe in recipes if isinstance(recipe, PathRecipe) for hop in recipe.hops}
    assert scales == {1.0}


def test_in_the_paper_s_form_the_first_model_gives_the_ends_of_every_path() -> None:
    space = PathSpace.build([A, B, C], tied=False, ends="first", repeats=3)
    assert space.decode(space.seeds()[0]) == A
    for genome in islice(space.random_genomes(np.random.default_rng(0)), 200):
        recipe = space.decode(genome)
        found = hops(recipe)
        assert found[0] == ("a", 0)
        assert found[-1] == ("a", DEPTH - 1)
        if isinstance(recipe, PathRecipe):
            assert recipe.parts[recipe.embedding] == recipe.parts[recipe.head] == A


@pytest.mark.parametrize("ends", ["first", "free"])
@pytest.mark.parametrize("tied", [False, True])
def test_whatever_is_bred_is_a_path_of_an_allowed_depth(ends: str, tied: bool) -> None:
    space = PathSpace.build([A, B], tied=tied, ends=ends, least=3, most=5)  # type: ignore[arg-type]
    random = np.random.default_rng(1)
    for _ in range(300):
        genome = space.repaired([int(random.integers(levels)) for levels in space.levels])
        recipe = space.decode(genome)
        assert 3 <= len(hops(recipe)) <= 5
        assert space.repaired(genome) == genome
        if tied and isinstance(recipe, PathRecipe):
            assert recipe.embedding == recipe.head


def test_a_genome_that_means_no_path_is_refused() -> None:
    space = PathSpace.build([A, B], tied=True, most=5)
    deep = [0] + [1] * 16 + [10] * 16
    with pytest.raises(MergingError, match="path: got 16 layers: give 2 to 5"):
        space.decode(deep)
    with pytest.raises(MergingError, match="path: got 0 layers"):
        space.decode([0] * 17 + [10] * 16)
    with pytest.raises(MergingError, match="genome: got 3 indices: this space has 33 genes"):
        space.decode([0, 1, 1])
    with pytest.raises(MergingError, match="genome: got 21 for gene 17: give 0 to 20"):
        space.decode([0] + [1] * 4 + [0] * 12 + [21] + [10] * 15)


def test_a_space_without_the_models_themselves_is_refused() -> None:
    with pytest.raises(MergingError, match="layers: got 5 to 9: a source, which has 4, must be among the paths"):
        PathSpace.build([A, B], tied=False, least=5, most=9)
    shallow = WeightMerge.single(ModelId("tiny/s", "5" * 40), Partition.even(3, 1, False, False), "float32")
    with pytest.raises(MergingError, match="path: got parts of 4, 3 layers: at least two of one depth"):
        PathSpace.build([A, shallow], tied=False)
    single = [
        WeightMerge.single(ModelId(f"tiny/{n}", n * 40), Partition.even(1, 1, False, False), "float32") for n in "ab"
    ]
    with pytest.raises(MergingError, match="layers: got at most 1: paths between a first and a last layer have at"):
        PathSpace.build(single, tied=False, ends="first", most=1)


def test_a_first_generation_is_no_larger_than_the_others_and_has_every_model_in_it() -> None:
    parts = [
        WeightMerge.single(ModelId(f"tiny/{name}", name * 40), Partition.even(DEPTH, 1, False, False), "float32")
        for name in "abcdef01"
    ]
    space = PathSpace.build(parts, tied=False)
    assert len(space.seeds()) > 100
    asked: list[Sequence[Recipe]] = []

    def evaluate(recipes: Sequence[Recipe]) -> list[Outcome]:
        asked.append(recipes)
        return [Outcome((float(len(hops(recipe))),), None, 1.0) for recipe in recipes]

    evolve(space, SearchSettings(12, 24, None, 0), evaluate, objectives=1)
    assert [len(recipes) for recipes in asked] == [12, 12]
    assert list(asked[0][:8]) == parts


def test_every_scale_is_positive_and_without_scales_all_are_one() -> None:
    space = PathSpace.build([A, B], tied=False, step=0.25)
    assert space.scale is not None
    assert [space.scale.value(index) for index in range(space.scale.levels)] == [0.5, 0.75, 1.0, 1.25, 1.5]
    bare = PathSpace.build([A, B], tied=False, scales=False)
    assert len(bare.levels) == 2 + 2 * 2 * DEPTH
    for genome in islice(bare.random_genomes(np.random.default_rng(2)), 50):
        recipe = bare.decode(genome)
        assert not isinstance(recipe, PathRecipe) or {hop.scale for hop in recipe.hops} == {1.0}


GOAL = way("a0 b0 a1 a2 b3")


def likeness(recipe: Recipe) -> tuple[float, float]:
    """Layers that are the goal's in the goal's order, less the others; and how near the scales are to 0.8."""
    found = hops(recipe)
    same = sum(block.size for block in SequenceMatcher(None, found, GOAL, autojunk=False).get_matching_blocks())
    scales = [hop.scale for hop in recipe.hops] if isinstance(recipe, PathRecipe) else [1.0]
    return float(2 * same - len(found)), -float(np.mean([abs(scale - 0.8) for scale in scales]))


def outcomes(recipes: Sequence[Recipe]) -> list[Outcome]:
    return [Outcome(likeness(recipe), None, 1.0) for recipe in recipes]


def test_evolution_finds_a_path_and_its_scales() -> None:
    space = PathSpace.build([A, B], tied=False, step=0.1)
    result = evolve(space, SearchSettings(30, 900, None, 3), outcomes, objectives=2)
    best = max(scored.outcome.objectives or () for scored in result.front)
    assert best[0] == 5
    started = max(likeness(space.decode(genome)) for genome in space.seeds())
    assert best[0] > started[0]
    assert len({scored.recipe.digest for scored in result.scored}) == len(result.scored) == 900
    again = evolve(space, SearchSettings(30, 900, None, 3), outcomes, objectives=2)
    assert [one.recipe.digest for one in again.scored] == [one.recipe.digest for one in result.scored]


def test_a_second_search_goes_on_from_the_first_one_s_front() -> None:
    asked: list[str] = []

    def evaluate(recipes: Sequence[Recipe]) -> list[Outcome]:
        asked.extend(recipe.digest for recipe in recipes)
        return outcomes(recipes)

    first = evolve(PathSpace.build([A, B], tied=False), SearchSettings(10, 60, None, 1), evaluate, objectives=2)
    space = PathSpace.build([A, C], tied=False)
    both = evolve(space, SearchSettings(10, 40, None, 1), evaluate, objectives=2, earlier=first)
    assert len(asked) == len(set(asked)) == 100  # what the two have in common was not asked twice, nor paid for
    assert both.scored[:60] == first.scored
    assert len(both.scored) == 100
    assert both.generations[: len(first.generations)] == first.generations
    volumes = [generation.hypervolume for generation in both.generations]
    assert volumes == sorted(volumes)
    assert both.generations[-1].spent == 100
    best = {scored.outcome.objectives for scored in both.front}
    assert max(best) == max(scored.outcome.objectives or () for scored in both.scored)

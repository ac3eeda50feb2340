"""The space of merges in which some components are taken whole: genes for what is merged, a choice for what is not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from merging.errors import MergingError
from merging.evolution.evolve import evolve
from merging.evolution.outcomes import Outcome, SearchSettings
from merging.identity import ModelId
from merging.partition import Component, Partition, Whole, banded_stack
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.components import ComponentSpace, merge_space

A, B, BASE = (ModelId(f"org/{name}", "0" * 40) for name in ("a", "b", "base"))
TOWER = Component("vision", ("vision_tower",), 2, Whole(None))
FIXED = Component("projector", ("projector",), 0, Whole(A))
LANGUAGE = Component("text", (), 4, banded_stack(((0, 2), (2, 4)), modules_apart=True, ends_apart=False))


def space(*components: Component, method: str = "task_arithmetic") -> ComponentSpace:
    groups = Partition(components)
    found = merge_space(method=method, sources=[A, B], base=BASE, groups=groups, dtype="float32", seed=1, step=0.1)
    assert isinstance(found, ComponentSpace)
    return found


def test_an_open_component_is_a_gene_without_an_order() -> None:
    open_tower = space(TOWER, LANGUAGE)
    assert open_tower.levels[-1] == 3 and open_tower.choices == (len(open_tower.levels) - 1,)
    assert len(open_tower.levels) == len(open_tower.merges.levels) + 1
    assert open_tower.models == (A, B, BASE)


@pytest.mark.parametrize(("index", "source"), [(0, A), (1, B), (2, BASE)])
def test_the_gene_says_which_source_the_component_is_taken_from(index: int, source: ModelId) -> None:
    open_tower = space(TOWER, FIXED, LANGUAGE)
    genome = next(open_tower.random_genomes(np.random.default_rng(0)))
    recipe = open_tower.decode((*genome[:-1], index))
    assert recipe.groups.whole == {"vision": source, "projector": A}
    assert recipe.parameters == open_tower.merges.decode(genome[:-1]).parameters


def test_one_model_in_all_components_is_that_model_alone() -> None:
    open_tower = space(TOWER, LANGUAGE)
    recipes = [open_tower.decode(seed) for seed in open_tower.seeds()]
    assert set(open_tower.singles()) <= set(recipes)
    alone = next(seed for seed in open_tower.seeds() if open_tower.decode(seed) == open_tower.singles()[0])
    mixed = open_tower.decode((*alone[:-1], 1))
    assert not mixed.is_single and mixed.origins == (A, B)


def test_a_model_alone_is_no_part_of_a_space_that_fixes_another_s_component() -> None:
    fixed = space(FIXED, LANGUAGE)
    recipes = [fixed.decode(seed) for seed in fixed.seeds()]
    assert [recipe.sources for recipe in recipes if recipe.is_single] == [(A,)]
    assert all(recipe.groups.whole == {"projector": A} for recipe in recipes if not recipe.is_single)


def test_a_carrier_that_is_not_merged_gives_its_components_to_sources_that_lack_them() -> None:
    groups = Partition((replace(TOWER, lacking=(B,)), LANGUAGE))
    carried = merge_space(
        method="linear", sources=[A, B], base=BASE, groups=groups, dtype="float32", seed=1, step=0.1, carrier=BASE
    )
    assert isinstance(carried, ComponentSpace) and carried.models == (A, BASE)
    recipes = [carried.decode(seed) for seed in carried.seeds()]
    assert {carried.alone(A), carried.alone(B)} <= set(recipes)
    assert all(carried.decode(carried.encode(recipe) or ()) == recipe for recipe in recipes)
    assert [recipe.origins for recipe in recipes if recipe.groups.whole == {"vision": BASE}] == [(A, B, BASE)]


def test_an_edit_takes_the_component_from_another_model() -> None:
    open_tower, random = space(TOWER, LANGUAGE), np.random.default_rng(0)
    genome = open_tower.seeds()[0]
    edits = [open_tower.edited(genome, random) for _ in range(100)]
    assert all(tuple(edit[:-1]) == genome[:-1] for edit in edits)
    assert Counter(edit[-1] for edit in edits).keys() == set(range(3)) - {genome[-1]}


@pytest.mark.parametrize("genome", [(0,) * 8, (0,) * 8 + (3,), (0,) * 8 + (-1,), (0,) * 10])
def test_a_genome_off_the_grid_is_refused(genome: tuple[int, ...]) -> None:
    with pytest.raises(MergingError, match=r"genome: got "):
        space(TOWER, LANGUAGE).decode(genome)


def test_a_search_finds_the_source_whose_component_scores_best() -> None:
    open_tower = space(TOWER, LANGUAGE, method="linear")

    def score(recipe: Recipe) -> Outcome:
        assert isinstance(recipe, WeightMerge)
        return Outcome((float(recipe.groups.whole == {"vision": B}), float(len(recipe.sources))), None, 0.0)

    settings = SearchSettings(population=10, candidates=60, minutes=None, seed=3)
    found = evolve(open_tower, settings, lambda recipes: [score(recipe) for recipe in recipes], objectives=2)
    best = [one.recipe for one in found.front if isinstance(one.recipe, WeightMerge)]
    assert best and all(recipe.groups.whole == {"vision": B} for recipe in best)


def test_plain_merges_have_the_carrier_s_components_where_nobody_could_merge_them() -> None:
    groups = Partition((LANGUAGE, TOWER))
    common = {"method": "task_arithmetic", "sources": [A, B], "base": BASE, "groups": groups, "dtype": "float32"}
    merged = merge_space(**common, seed=1, carrier=A)
    kept = merge_space(**common, seed=1, carrier=A, unlike=["vision"])
    assert [one.groups.whole for _, one in merged.plain_recipes()] == [{}, {}]
    assert [one.groups.whole for _, one in kept.plain_recipes()] == [{"vision": A}] * 2
    assert kept.singles() == merged.singles() and kept.levels == merged.levels

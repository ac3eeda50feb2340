"""The space of merges with a number besides: the scale of a last stage, the steps of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from merging.errors import MergingError
from merging.evolution.evolve import evolve
from merging.evolution.outcomes import Outcome, SearchSettings
from merging.identity import ModelId
from merging.partition import Component, Partition, Whole, banded_stack
from merging.recipes.last_stage import LastStage
from merging.recipes.recipe import Recipe, read_recipe
from merging.spaces.appended import AppendedSpace, DrawingSize, DrawingSteps, LastStageScale
from merging.spaces.components import merge_space

A, B, BASE = (ModelId(f"org/{name}", "0" * 40) for name in ("a", "b", "base"))
FAST = replace(BASE, adapter=ModelId("org/fast", "1" * 40))
GROUPS = Partition(
    (
        Component("vision", ("vision_tower",), 2, Whole(None)),
        Component("text", (), 4, banded_stack(((0, 2), (2, 4)), modules_apart=True, ends_apart=False)),
    )
)


def space(low: float = 0.0, high: float = 1.5) -> AppendedSpace:
    merges = merge_space(
        method="task_arithmetic", sources=[A, B], base=BASE, groups=GROUPS, dtype="float32", seed=1, step=0.1
    )
    return AppendedSpace(merges, LastStageScale.between(FAST, low, high, 0.1))


def stage_of(recipe: Recipe) -> LastStage | None:
    (merge,) = recipe.parts
    return merge.last_stage


def test_the_scale_is_the_last_gene_and_every_other_gene_means_what_it_did() -> None:
    searched = space()
    assert searched.levels == (*searched.merges.levels, 16) and searched.choices == searched.merges.choices
    for genome in islice(searched.random_genomes(np.random.default_rng(0)), 20):
        recipe = searched.decode(genome)
        assert replace(recipe, last_stage=None) == searched.merges.decode(genome[:-1])
        assert recipe.last_stage == (LastStage(FAST, round(genome[-1] * 0.1, 9)) if genome[-1] else None)
        encoded = searched.encode(recipe)
        assert encoded is not None and searched.decode(encoded) == recipe
        assert searched.repaired(searched.edited(genome, np.random.default_rng(1)))[-1] == genome[-1]


def test_a_fixed_scale_has_no_gene_and_is_in_every_candidate() -> None:
    fixed = space(0.8, 0.8)
    assert fixed.levels == fixed.merges.levels and fixed.size == fixed.merges.size
    genomes = [*fixed.seeds(), *islice(fixed.random_genomes(np.random.default_rng(0)), 5)]
    assert {stage_of(fixed.decode(genome)) for genome in genomes} == {LastStage(FAST, 0.8)}


@pytest.mark.parametrize(
    ("low", "high", "usual"), [(0.0, 1.5, 1.0), (0.2, 0.6, 0.6), (1.2, 3.0, 1.2), (0.5, 0.99, 0.9)]
)
def test_plain_merges_and_models_alone_get_the_adapter_as_it_is_meant(low: float, high: float, usual: float) -> None:
    searched = space(low, high)
    plain = dict(searched.plain_recipes())
    names = ("linear mean", "task_arithmetic, weight 1", "org/a", "org/b", "org/base")
    assert set(plain) == {f"{name}, then org/fast" for name in names}
    assert {stage_of(recipe) for recipe in plain.values()} == {LastStage(FAST, usual)}
    assert {stage_of(searched.decode(seed)) for seed in searched.seeds()} == {LastStage(FAST, usual)}
    assert all(recipe.last_stage is None for recipe in searched.singles())


def test_what_earlier_searches_found_is_said_with_the_nearest_scale_or_the_usual_one() -> None:
    searched = space(0.5, 1.5)
    merge = searched.decode(searched.seeds()[0])
    other = replace(BASE, adapter=ModelId("org/other", "1" * 40))
    said = {LastStage(FAST, 9.0): 1.5, LastStage(FAST, 0.1): 0.5, LastStage(other, 0.5): 1.0, None: 1.0}
    for stage, scale in said.items():
        genome = searched.encode(replace(merge, last_stage=stage))
        assert genome is not None and stage_of(searched.decode(genome)) == LastStage(FAST, scale)


def test_a_genome_off_the_grid_is_refused() -> None:
    searched = space()
    genome = searched.seeds()[0]
    for wrong in (genome[:-1], (*genome[:-1], 16), (*genome[:-1], -1)):
        with pytest.raises(MergingError, match=r"^genome: got "):
            searched.decode(wrong)


def test_a_search_varies_the_scale_towards_what_scores_best() -> None:
    def evaluate(recipes: Sequence[Recipe]) -> list[Outcome]:
        scales = [stage.scale if (stage := stage_of(recipe)) else 0.0 for recipe in recipes]
        return [Outcome((-abs(scale - 0.3),), None, 0.0) for scale in scales]

    found = evolve(space(), SearchSettings(20, 200, None, 0, False), evaluate, objectives=1)
    best = stage_of(found.front[0].recipe)
    assert best is not None and abs(best.scale - 0.3) < 0.15


def test_steps_are_a_gene_of_candidates_alone_and_stand_beside_a_last_stage() -> None:
    staged = space(0.8, 0.8)
    searched = AppendedSpace(staged, DrawingSteps.between(1, 8))
    assert searched.levels == (*staged.levels, 8)
    for genome in islice(searched.random_genomes(np.random.default_rng(0)), 20):
        recipe = searched.decode(genome)
        assert recipe == replace(staged.decode(genome[:-1]), steps=genome[-1] + 1)
        assert searched.encode(recipe) == searched.repaired((*(staged.encode(recipe) or ()), genome[-1]))
    assert [searched.decode(seed).steps for seed in searched.seeds()][:4] == [8, 1, 8, 1]
    told = searched.encode(staged.decode(staged.seeds()[0]))
    assert told is not None and searched.decode(told).steps == 8
    assert searched.plain_recipes() == staged.plain_recipes()
    merge = staged.decode(staged.seeds()[0])
    assert searched.as_candidate(merge) == staged.as_candidate(merge)


def test_steps_are_in_the_digest_and_the_json_of_recipes_that_have_them_alone() -> None:
    merges = space(0.8, 0.8)
    merge = merges.decode(merges.seeds()[0])
    quick = replace(merge, steps=2)
    assert "steps" not in merge.to_json() and read_recipe(merge.to_json()) == merge
    assert quick.to_json() == {**merge.to_json(), "steps": 2} and read_recipe(quick.to_json()) == quick
    assert quick.digest != merge.digest
    with pytest.raises(MergingError, match="steps"):
        replace(merge, steps=0)


def test_sizes_are_a_gene_beside_steps_and_are_in_the_json_of_recipes_that_have_them_alone() -> None:
    staged = space(0.8, 0.8)
    stepped = AppendedSpace(staged, DrawingSteps.between(1, 8))
    searched = AppendedSpace(stepped, DrawingSize.among((512, 768, 1024)))
    assert searched.levels == (*staged.levels, 8, 3)
    for genome in islice(searched.random_genomes(np.random.default_rng(0)), 20):
        recipe = searched.decode(genome)
        assert recipe == replace(stepped.decode(genome[:-1]), size=(512, 768, 1024)[genome[-1]])
        assert searched.encode(recipe) == searched.repaired((*(stepped.encode(recipe) or ()), genome[-1]))
        assert read_recipe(recipe.to_json()) == recipe and recipe.to_json()["size"] == recipe.size
    plain = staged.decode(staged.seeds()[0])
    assert "size" not in plain.to_json() and searched.plain_recipes() == staged.plain_recipes()
    assert searched.as_candidate(plain) == staged.as_candidate(plain)
    drawn = [(one.steps, one.size) for one in map(searched.decode, searched.seeds())]
    assert drawn[:4] == [(8, 1024), (1, 1024), (8, 768), (1, 768)]
    for size, nearest in ((None, 1024), (640, 512), (650, 768), (2048, 1024)):
        told = searched.encode(replace(plain, size=size))
        assert told is not None and searched.decode(told).size == nearest
    assert replace(plain, steps=4, size=768).describe().endswith(", in 4 steps, about 768 × 768 pixels")
    with pytest.raises(MergingError, match="size: got 0"):
        replace(plain, size=0)

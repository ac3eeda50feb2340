"""How genomes of paths are crossed and mutated: what a change costs in depth, and what becomes of the scales."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from pymoo.core.problem import Problem

from merging.evolution.operators import GenomeCrossover, GenomeMutation
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.path import PathRecipe
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.paths import PathSpace

DEPTH, MANY = 6, 2000
A, B = (
    WeightMerge.single(ModelId(f"tiny/{name}", name * 40), Partition.even(DEPTH, 1, False, False), "float32")
    for name in "ab"
)
SPACE = PathSpace.build([A, B], tied=False)
SLOTS = 2 * 2 * DEPTH
INCLUDED, SCALES = slice(2, 2 + SLOTS), slice(2 + SLOTS, 2 + 2 * SLOTS)


def problem_of(space: PathSpace) -> Any:
    levels = np.array(space.levels)
    return Problem(n_var=len(levels), n_obj=2, xl=np.zeros(len(levels)), xu=levels - 1)


def mutated(space: PathSpace, genomes: Any, seed: int) -> Any:
    return GenomeMutation(space)._do(problem_of(space), genomes, random_state=np.random.default_rng(seed))


def scaled(genome: tuple[int, ...], index: int) -> list[int]:
    """The genome with one scale for all slots, taken or not."""
    return [*genome[: SCALES.start], *[index] * SLOTS]


def test_mutation_makes_paths_neither_deeper_nor_shallower_on_average() -> None:
    genomes = np.array([SPACE.seeds()[0]] * MANY, dtype=float)
    for generation in range(4):
        genomes = mutated(SPACE, genomes, generation)
        depths = genomes[:, INCLUDED].sum(axis=1)
        assert abs(depths.mean() - DEPTH) < 0.25
        assert depths.min() >= SPACE.least and depths.max() <= SPACE.most
    assert depths.std() > 0.8


def test_about_one_scale_of_a_layer_that_is_taken_mutates() -> None:
    own = SPACE.seeds()[0]
    children = mutated(SPACE, np.array([own] * MANY, dtype=float), 1)
    taken = children[:, INCLUDED] == 1
    changed = np.abs(children[:, SCALES] - own[SCALES.start]) > 0.5
    assert 0.6 < (changed & taken).sum(axis=1).mean() < 1.4
    assert not (changed & ~taken).any()


@pytest.mark.parametrize("ends", ["free", "first"])
def test_an_edit_is_one_step_and_the_other_steps_keep_their_scales(ends: Literal["free", "first"]) -> None:
    space = PathSpace.build([A, B], tied=False, ends=ends, step=0.25)
    random = np.random.default_rng(2)
    lengths = set()
    for seed in space.seeds():
        first = len(seed) - len(seed[space.choices[-1] + 1 :])
        start = [*seed[:first], *[0] * (len(seed) - first)]
        before = space.decode(start)
        assert isinstance(before, PathRecipe)
        for _ in range(200):
            after = space.decode(list(map(int, space.edited(start, random))))
            assert isinstance(after, PathRecipe)
            kept = [(after.parts[hop.part], hop.layer) for hop in after.hops if hop.scale == 0.5]
            ends_differ = after.parts[after.embedding] != before.parts[before.embedding]
            ends_differ |= after.parts[after.head] != before.parts[before.head]
            assert len(before.hops) - 1 <= len(kept) <= len(before.hops)
            assert len(kept) >= len(after.hops) - 1
            assert not (ends_differ and len(kept) != len(after.hops))
            lengths.add(len(after.hops) - len(before.hops))
    assert lengths == {-1, 0, 1}


def test_a_layer_that_one_parent_alone_takes_is_inherited_with_its_scale() -> None:
    own_a, own_b = SPACE.seeds()[:2]
    parents = np.array([[scaled(own_a, 3)] * 200, [scaled(own_b, 17)] * 200], dtype=float)
    children = GenomeCrossover(SPACE)._do(problem_of(SPACE), parents, random_state=np.random.default_rng(3))
    assert children.shape == parents.shape
    of_a = np.array(own_a[INCLUDED]) == 1
    of_b = np.array(own_b[INCLUDED]) == 1
    included, scales = children[..., INCLUDED] == 1, children[..., SCALES]
    assert (scales[included & of_a] == 3).all() and (scales[included & of_b] == 17).all()
    mixed = (included & of_a).any(axis=2) & (included & of_b).any(axis=2)
    assert mixed.mean() > 0.3
    assert (included.sum(axis=0) == (of_a | of_b)).all()  # what one child lacks the other has


def test_scales_of_layers_that_both_parents_take_are_blended() -> None:
    own = SPACE.seeds()[0]
    parents = np.array([[scaled(own, 5)] * 200, [scaled(own, 15)] * 200], dtype=float)
    children = GenomeCrossover(SPACE)._do(problem_of(SPACE), parents, random_state=np.random.default_rng(4))
    taken = np.array(own[INCLUDED]) == 1
    scales = children[..., SCALES]
    assert 0.2 < (~np.isin(scales[..., taken], (5, 15))).mean() < 0.8
    assert np.isin(scales[..., ~taken], (5, 15)).all()

"""From a recipe back to a genome: exact for a space's own recipes, as near as possible for those of other searches."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import islice

import numpy as np
import pytest

from merging.errors import MergingError
from merging.identity import ModelId
from merging.methods import METHODS, searched_methods
from merging.partition import Component, Partition, Whole, banded_stack
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.components import merge_space
from merging.spaces.paths import PathSpace
from merging.spaces.space import MergeSpace, SearchSpace

pytestmark = pytest.mark.slow

A, B, C = (ModelId(f"org/{name}", "0" * 40) for name in "abc")
NEWER_A = ModelId("org/a", "1" * 40)
BASE = ModelId("org/base", "f" * 40)
LAYERS = 4
TWO_BANDS = Partition.even(LAYERS, 2, modules_apart=False, ends_apart=False)
FINE = Partition.even(LAYERS, 4, modules_apart=True, ends_apart=True)
NAMES = [
    "model.embed_tokens.weight",
    *(f"model.layers.{n}.{m}.weight" for n in range(LAYERS) for m in ("self_attn.q_proj", "mlp.up_proj")),
    "model.norm.weight",
    "lm_head.weight",
]


def space_of(
    method: str,
    sources: Sequence[ModelId] = (A, B),
    groups: Partition = TWO_BANDS,
    step: float = 0.1,
    base: ModelId = BASE,
) -> MergeSpace:
    return merge_space(method=method, sources=sources, base=base, groups=groups, dtype="float32", seed=7, step=step)


def drawn(space: SearchSpace, count: int) -> list[Recipe]:
    """The space's seeds, and as many random recipes."""
    genomes = islice(space.random_genomes(np.random.default_rng(5)), count)
    return [space.decode(space.repaired(genome)) for genome in (*space.seeds(), *genomes)]


def again(space: SearchSpace, recipe: Recipe) -> Recipe:
    """The recipe of the genome that a recipe is encoded to."""
    genome = space.encode(recipe)
    assert genome is not None
    return space.decode(genome)


def weights(recipe: Recipe) -> dict[str, tuple[float, ...]]:
    """Letter of each source → its weights in all groups."""
    assert isinstance(recipe, WeightMerge)
    return dict(zip((one.location[-1] for one in recipe.sources), recipe.rows("weight"), strict=True))


@pytest.mark.parametrize("method", searched_methods())
@pytest.mark.parametrize("step", [0.05, 0.25])
def test_what_a_space_decodes_it_encodes_again(method: str, step: float) -> None:
    sources = (A, B) if METHODS[method].max_sources == 2 else (A, B, C)
    space = space_of(method, sources, step=step)
    for recipe in drawn(space, 200):
        assert again(space, recipe) == recipe


@pytest.mark.parametrize("method", ["task_arithmetic", "linear", "dare_ties"])
def test_components_taken_whole_are_encoded_with_the_model_that_they_are_from(method: str) -> None:
    tower, projector = (Component(name, (name,), 2, Whole(source)) for name, source in (("tower", None), ("eye", A)))
    text = Component("text", (), LAYERS, banded_stack(((0, 2), (2, 4)), modules_apart=True, ends_apart=False))
    for components in ((tower, text), (tower, projector, text)):
        space = space_of(method, groups=Partition(components))
        for recipe in drawn(space, 100):
            assert again(space, recipe) == recipe


@pytest.mark.parametrize("ends", ["first", "free"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("scales", [False, True])
def test_paths_are_encoded_again_whichever_slots_they_had(ends: str, tied: bool, scales: bool) -> None:
    merged = space_of("task_arithmetic").decode([5] * 4)
    assert isinstance(merged, WeightMerge) and not merged.is_single
    parts = [*space_of("linear").singles(), merged]
    space = PathSpace.build(parts, tied=tied, ends=ends, scales=scales)  # type: ignore[arg-type]
    paths = drawn(space, 200)
    assert sum(bool(path.hops) for path in paths) > 150
    for path in paths:
        assert again(space, path) == path


def test_a_source_that_is_gone_drops_out_and_a_new_one_takes_no_part() -> None:
    old = space_of("task_arithmetic", (A, B)).decode([3, 4, 7, 8])
    assert weights(old) == {"a": (0.3, 0.4), "b": (0.7, 0.8)}
    assert again(space_of("task_arithmetic", (A, B, C)), old) == old
    assert again(space_of("task_arithmetic", (C, B, A)), old).digest != old.digest  # the order of sums is the pool's
    assert weights(again(space_of("task_arithmetic", (C, B)), old)) == {"b": (0.7, 0.8)}
    assert space_of("task_arithmetic", (C,)).encode(old) is None

    shares = WeightMerge(
        "linear", (A, B, C), None, TWO_BANDS, (("weight", ((0.2, 1), (0.2, 1), (0.4, 1))),), "float32", 0
    )
    assert weights(again(space_of("linear", (A, C)), shares)) == {"a": (0.5, 1.0), "c": (1.0, 1.0)}
    # In a space of task vectors the shares are those of a merge whose weights add up to 1.
    assert weights(again(space_of("task_arithmetic", (A, B, C), step=0.05), shares))["c"][0] == 0.5


def test_a_newer_commit_takes_the_place_of_an_older_one_in_every_part_of_a_recipe() -> None:
    merged = space_of("task_arithmetic", (A, B)).decode([3, 4, 7, 8])
    assert again(space_of("task_arithmetic", (NEWER_A, B)), merged.with_models({A: NEWER_A})).origins == (
        BASE,
        NEWER_A,
        B,
    )
    with pytest.raises(MergingError, match="name each model once"):
        merged.with_models({A: B})

    tower = Component("tower", ("tower",), 2, Whole(None))
    text = Component("text", (), LAYERS, banded_stack(((0, 4),), modules_apart=False, ends_apart=False))
    whole = space_of("linear", groups=Partition((tower, text))).decode([1, 1, 0])
    assert isinstance(whole, WeightMerge)
    assert whole.with_models({A: NEWER_A}).groups.whole == {"tower": NEWER_A}
    assert space_of("linear", (B, C), Partition((tower, text))).encode(whole) is None

    old, new = (PathSpace.build(space_of("linear", (a, B)).singles(), tied=False) for a in (A, NEWER_A))
    path = next(one for one in drawn(old, 50) if len(one.parts) == 2)
    assert new.encode(path) is None
    assert again(new, path.with_models({A: NEWER_A})).hops == path.hops


def test_a_position_between_two_models_is_turned_round_where_the_method_allows_it() -> None:
    old = space_of("slerp", (A, B)).decode([2, 3])
    turned = again(space_of("slerp", (B, A)), old)
    assert isinstance(turned, WeightMerge) and turned.sources == (B, A) and turned.rows("t") == ((0.8, 0.7),)
    assert space_of("nearswap", (B, A)).encode(space_of("nearswap", (A, B)).decode([2, 3])) is None
    assert again(space_of("slerp", (B, C)), old) == space_of("slerp", (B, C)).singles()[0]


@pytest.mark.parametrize(
    ("old", "new", "carried"),
    [
        ("task_arithmetic", "dare_linear", True),
        ("ties", "dare_ties", True),
        ("linear", "task_arithmetic", True),
        ("task_arithmetic", "linear", False),
        ("task_arithmetic", "ties", False),
        ("karcher", "ram", False),
    ],
)
def test_another_method_takes_a_recipe_that_it_can_say(old: str, new: str, carried: bool) -> None:
    chosen = space_of(old).decode([1, 1]) if old == "karcher" else None
    rows = ((0.5, 0.2), (0.6, 0.8))
    base = None if old == "linear" else BASE
    recipe = chosen or WeightMerge(old, (A, B), base, TWO_BANDS, (("weight", rows),), "float32", 0)
    genome = space_of(new, step=0.05).encode(recipe)
    assert (genome is not None) == carried
    if genome is not None:
        share = [0.45, 0.55] if old == "linear" else [0.5, 0.6]  # a linear merge divides by the sum of its weights
        assert [index * 0.05 for index in genome[-4::2]] == pytest.approx(share)  # weights come last, by name


def test_values_off_the_grid_are_rounded_to_it() -> None:
    fine = space_of("task_arithmetic", step=0.05).decode([7, 1, 30, 0])
    assert weights(again(space_of("task_arithmetic", step=0.5), fine)) == {"a": (0.5, 0.0), "b": (1.5, 0.0)}


def test_values_are_said_for_other_groups_where_that_changes_no_tensor() -> None:
    coarse, fine = space_of("task_arithmetic"), space_of("task_arithmetic", groups=FINE)
    finer = coarse.decode([3, 4, 7, 8]).regrouped(FINE, NAMES)
    assert isinstance(finer, WeightMerge) and finer.groups == FINE
    for name in NAMES:
        assert finer.values("weight", name) == coarse.decode([3, 4, 7, 8]).parts[0].values("weight", name)
    assert again(fine, finer) == finer
    assert again(coarse, finer.regrouped(TWO_BANDS, NAMES)) == coarse.decode([3, 4, 7, 8])
    assert coarse.encode(finer) is None

    uneven = fine.decode(random.Random(0).choices(range(16), k=len(fine.levels)))
    with pytest.raises(MergingError, match="has tensors with different values"):
        uneven.regrouped(TWO_BANDS, NAMES)
    alone = coarse.singles()[0]
    assert alone.regrouped(FINE, NAMES) == alone and again(fine, alone) == alone

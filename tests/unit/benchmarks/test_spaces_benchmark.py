"""What the comparison of search spaces says of values that are known: intervals, and paths without their scales."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.spaces import Found, comparison, over_seeds, row, told, unscaled
from evaluation.statistics.intervals import score_interval
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.path import Hop, PathRecipe
from merging.recipes.weight_merge import WeightMerge

pytestmark = pytest.mark.slow

A, B = (
    WeightMerge.single(ModelId(f"tiny/{name}", name * 40), Partition.even(2, 1, False, False), "float32")
    for name in "ab"
)
PATH = PathRecipe((A, B), (Hop(0, 0, 0.7), Hop(1, 1, 1.2)), 0, 1)


def test_an_interval_over_seeds_is_student_s_and_one_over_items_is_added_in_quadrature() -> None:
    table = np.array([[0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0]])
    found = over_seeds(table)
    by_seed, by_item = [0.75, 0.5, 0.5], [0.0, 2 / 3, 1.0, 2 / 3]
    seeds = 4.302653 * np.std(by_seed, ddof=1) / 3**0.5  # t with 2 degrees of freedom
    items = 1.959964 * np.std(by_item, ddof=1) / 4**0.5
    assert found.mean == pytest.approx(7 / 12)
    assert found.seeds == pytest.approx(seeds, rel=1e-5)
    assert found.both == pytest.approx((seeds**2 + items**2) ** 0.5, rel=1e-5)
    of_seeds = over_seeds(np.array(by_seed))
    assert of_seeds.both == of_seeds.seeds == pytest.approx(seeds, rel=1e-5)


def test_intervals_held_over_seeds_and_items_contain_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        noise = random.normal(0, 0.05, (5, 1)) + random.normal(0, 0.3, (1, 60)) + random.normal(0, 0.1, (5, 60))
        found = over_seeds(0.5 + noise)
        hits += abs(found.mean - 0.5) <= found.both
    assert 0.93 <= hits / 400 <= 1.0


def test_a_path_without_its_scales_is_the_same_path_and_a_mixture_is_itself() -> None:
    assert unscaled(PATH) == PathRecipe((A, B), (Hop(0, 0, 1.0), Hop(1, 1, 1.0)), 0, 1)
    assert unscaled(PathRecipe((A,), (Hop(0, 0, 0.7), Hop(0, 1, 1.2)), 0, 0)) == A
    assert unscaled(A) == A


def test_an_arm_s_line_and_a_difference_tell_their_numbers_in_points() -> None:
    values = [{"cross": np.array(scores)} for scores in ([0.0, 1.0], [1.0, 1.0], [0.0, 0.0])]
    one = [Found(PATH, values[1], values[0], 0.4), Found(A, values[0], values[0], 0.6)]
    other = [Found(A, values[2], values[2], 0.3), Found(A, values[2], values[2], 0.5)]
    assert row("paths", one).split() == ["paths", "75.0", "±", "321.4", "50.0", "±", "127.1", "2", "w"]
    assert comparison(one, other).split()[:3] == ["+75.0", "±", "317.7"]
    assert comparison(one, other).split()[-3:] == ["+10.0", "±", "0.0"]
    assert told(score_interval([0.0] * 50 + [1.0] * 50, 0)) == " 50.0 [40.4, 59.6]"

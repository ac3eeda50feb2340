"""Fronts, their hypervolume, and the few points that represent one, against independent references."""

import itertools
import math

import numpy as np
import pytest

from merging.errors import MergingError
from merging.evolution.pareto import extremes_and_knee, hypervolume, nondominated, spread_order


def dominates(a, b):
    return all(x >= y for x, y in zip(a, b, strict=True)) and a != b


def staircase(points, reference):
    """Area above a reference point in two dimensions, as the sum of the steps under the staircase."""
    area, height = 0.0, reference[1]
    for x, y in sorted(points, reverse=True):
        if x > reference[0] and y > height:
            area += (x - reference[0]) * (y - height)
            height = y
    return area


def boxes(points, reference):
    """Volume above a reference point in any dimension, by inclusion and exclusion of the points' boxes."""
    total = 0.0
    for size in range(1, len(points) + 1):
        for chosen in itertools.combinations(points, size):
            corner = np.min(chosen, axis=0)
            total -= (-1) ** size * math.prod(np.maximum(corner - reference, 0))
    return total


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_the_front_is_what_brute_force_says(objectives):
    random = np.random.default_rng(objectives)
    for size in (1, 2, 7, 40):
        points = [tuple(point) for point in random.integers(0, 6, (size, objectives)).tolist()]
        expected = [i for i, a in enumerate(points) if not any(dominates(b, a) for b in points)]
        assert nondominated(points) == tuple(expected)
    assert nondominated([]) == ()


def test_copies_of_a_best_point_are_all_on_the_front():
    assert nondominated([(1, 0), (0, 1), (1, 0), (0, 0)]) == (0, 1, 2)


def test_hypervolume_in_two_dimensions_is_the_area_under_the_staircase():
    random = np.random.default_rng(5)
    for size in (1, 3, 50):
        points = random.normal(size=(size, 2)).tolist()
        for reference in ((0.0, 0.0), (-2.0, -1.0), (0.5, -3.0)):
            assert hypervolume(points, reference) == pytest.approx(staircase(points, reference), abs=1e-12)
    assert hypervolume([(0.5, 1.0), (1.0, 0.5)], (0, 0)) == pytest.approx(0.75)


@pytest.mark.parametrize("objectives", [1, 3, 4])
def test_hypervolume_in_other_dimensions_is_the_volume_of_the_union_of_boxes(objectives):
    random = np.random.default_rng(objectives)
    points = random.uniform(-0.2, 1, (8, objectives))
    reference = np.zeros(objectives)
    assert hypervolume(points.tolist(), reference) == pytest.approx(boxes(points, reference))


def test_points_that_are_not_above_the_reference_add_nothing():
    assert hypervolume([], (0, 0)) == 0
    assert hypervolume([(5, 0), (0, 5), (-1, 9)], (0, 0)) == 0
    assert hypervolume([(5, 0), (1, 1), (-1, 9)], (0, 0)) == 1


def test_scores_that_are_not_finite_and_points_of_wrong_length_are_refused():
    for question in (nondominated, lambda points: hypervolume(points, (0, 0))):
        with pytest.raises(MergingError, match="not finite"):
            question([(1.0, math.nan)])
    with pytest.raises(MergingError, match="got 2 values"):
        hypervolume([(1, 2, 3)], (0, 0))


def test_the_knee_is_the_point_farthest_from_the_line_between_the_ends():
    front = [(0.0, 10.0), (20.0, 9.0), (60.0, 7.0), (90.0, 2.0), (100.0, 0.0)]
    start, end = np.array([0.0, 1.0]), np.array([1.0, 0.0])
    line = (end - start) / np.linalg.norm(end - start)
    offsets = np.array([(x / 100, y / 10) for x, y in front]) - start
    distances = np.linalg.norm(offsets - np.outer(offsets @ line, line), axis=1)
    assert extremes_and_knee(front, 3) == (int(np.argmax(distances)), 4, 0) == (2, 4, 0)


def test_a_limit_keeps_the_knee_first_and_then_the_ends_in_the_order_of_the_objectives():
    front = [(0.0, 1.0), (0.7, 0.7), (1.0, 0.0)]
    assert [extremes_and_knee(front, limit) for limit in range(5)] == [(), (1,), (1, 2), (1, 2, 0), (1, 2, 0)]


def test_nothing_is_picked_twice_and_ties_are_decided_the_same_way_each_time():
    assert extremes_and_knee([], 3) == ()
    assert extremes_and_knee([(0.4, 0.4)], 3) == (0,)
    assert extremes_and_knee([(0.4, 0.4), (0.4, 0.4)], 3) == (0,)
    straight = [(0.0, 1.0), (0.9, 0.1), (0.5, 0.5), (1.0, 0.0)]
    assert extremes_and_knee(straight, 3) == (2, 3, 0), "the most even of those that are equally far"
    # Equally far too, but not to the last bit.
    uneven_bits = [(0.0, 33.0), (0.30000000000000004, 29.700000000000003), (0.6000000000000001, 26.400000000000002)]
    assert extremes_and_knee([*uneven_bits, (2.2, 8.8), (3.0, 0.0)], 1) == (3,)
    best_total, most_even = (1.0, 0.9, 0.0), (1.0, 0.4, 0.4)
    assert extremes_and_knee([most_even, best_total, (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)], 4) == (1, 2, 3)
    hollow = [(0.0, 1.0), (0.1, 0.1), (1.0, 0.0)]
    assert set(extremes_and_knee(hollow, 3)) == {0, 2}
    best_in_both_others = [(1.0, 0.2, 0.1), (1.0, 0.9, 0.1), (0.0, 1.0, 0.0), (0.1, 0.0, 1.0)]
    assert extremes_and_knee(best_in_both_others, 4) == (1, 2, 3)


def test_the_order_of_a_front_and_the_units_of_its_objectives_do_not_change_the_choice():
    random = np.random.default_rng(2)
    angles = random.uniform(0, math.pi / 2, 12)
    front = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    chosen = {tuple(front[index]) for index in extremes_and_knee(front.tolist(), 3)}
    order = random.permutation(12)
    stretched = front[order] * (1000, 0.01) + (-7, 3)
    again = {tuple(front[order][index]) for index in extremes_and_knee(stretched.tolist(), 3)}
    assert chosen == again and len(chosen) == 3


def test_every_beginning_of_the_order_is_spread_over_the_front():
    crowded = [(x, 100 - x) for x in (0, 1, 2, 3, 4, 5, 50, 51, 90, 100)]
    chosen = [{crowded[index][0] for index in spread_order(crowded)[:count]} for count in (2, 3, 4)]
    assert chosen[0] == {0, 100}
    assert chosen[1] - chosen[0] <= {50, 51} and chosen[2] - chosen[1] == {90}
    assert sorted(spread_order(crowded)) == list(range(len(crowded)))
    stretched = [(1000 * x - 7, y / 100) for x, y in crowded]
    assert spread_order(stretched) == spread_order(crowded)


def test_equal_points_come_last_and_few_points_are_all_taken():
    assert spread_order([]) == () and spread_order([(0.5, 0.5)]) == (0,)
    same = [(0.0, 1.0), (0.5, 0.5), (0.5, 0.5), (1.0, 0.0)]
    assert set(spread_order(same)[:3]) in ({0, 1, 3}, {0, 2, 3})

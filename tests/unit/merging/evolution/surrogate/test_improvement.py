"""The batch of the highest expected improvement, against hypervolumes computed exactly."""

from itertools import combinations

import numpy as np
import pytest

from merging.evolution.pareto import hypervolume
from merging.evolution.surrogate.improvement import choose_batch, reachable_points


def expected_gain(draws, front, reference, chosen):
    """Mean exact improvement over the draws."""
    before = hypervolume(front, reference)
    return np.mean([hypervolume([*front, *draws[list(chosen), draw]], reference) - before for draw in range(24)])


@pytest.mark.parametrize("objectives", [1, 2, 3, 5])
def test_the_first_choice_has_nearly_the_best_exact_improvement_and_a_batch_nearly_that_of_the_best_batch(objectives):
    random = np.random.default_rng(objectives)
    front = random.uniform(0.3, 0.6, (1 if objectives == 1 else 6, objectives))
    draws = np.clip(random.uniform(0.3, 0.7, (12, 1, objectives)) + random.normal(0, 0.05, (12, 24, objectives)), 0, 1)
    reference = np.zeros(objectives)
    chosen = choose_batch(draws, np.ones(12), front, reference, 3, random)
    singles = [expected_gain(draws, front, reference, [index]) for index in range(12)]
    assert singles[chosen[0]] > 0.93 * max(singles)
    best = max(expected_gain(draws, front, reference, batch) for batch in combinations(range(12), 3))
    assert len(set(chosen)) == len(chosen) <= 3
    assert expected_gain(draws, front, reference, chosen) > 0.93 * best


def test_a_copy_of_a_chosen_candidate_gains_nothing_more_and_a_likely_failure_less():
    random = np.random.default_rng(0)
    front, reference = np.array([[0.5, 0.5]]), np.zeros(2)
    best, other, beaten = (np.full((1, 24, 2), score) for score in ((0.8, 0.6), (0.6, 0.7), (0.4, 0.5)))
    draws = np.concatenate([best, best, other, beaten])
    assert choose_batch(draws, np.ones(4), front, reference, 4, random) == [0, 2]
    chances = np.array([0.1, 0.9, 0.5, 1.0])
    assert choose_batch(draws, chances, front, reference, 2, random) == [1, 2]


def test_points_are_where_a_draw_improves_the_front_and_nowhere_else():
    random = np.random.default_rng(0)
    draws = random.uniform(0.4, 0.9, (10, 24, 3))
    front = random.uniform(0.4, 0.7, (8, 3))
    points = reachable_points(draws, front, np.full(3, 0.2), random)
    assert len(points) == 1000 and (points > 0.2).all()
    assert not (points[:, None] <= front).all(axis=-1).any()
    assert (points[:, None] <= draws.max(axis=1)).all(axis=-1).any(axis=1).all()


def test_nothing_is_chosen_where_nothing_improves():
    draws = np.full((3, 24, 2), 0.4)
    front = np.array([[0.5, 0.5]])
    assert choose_batch(draws, np.ones(3), front, np.zeros(2), 2, np.random.default_rng(0)) == []
    assert choose_batch(draws, np.ones(3), front, np.full(2, 0.6), 2, np.random.default_rng(0)) == []

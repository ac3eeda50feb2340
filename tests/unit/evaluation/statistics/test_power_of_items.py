"""What a plan promises to see, held against simulated models and the very test that the gate applies."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.errors import EvaluationError
from evaluation.statistics.intervals import tango
from evaluation.statistics.paired import mcnemar, paired_difference
from evaluation.statistics.power import (
    chance_to_keep,
    detectable_difference,
    drop_to_keep,
    effective_items,
    identical_limit,
    items_to_keep,
    smallest_p_value,
)
from evaluation.statistics.values import Stratum


@pytest.mark.parametrize("items", [60, 100, 200, 400, 1000])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 3, 0.05 / 60])
@pytest.mark.parametrize("discordant", [0.5, 0.2])
def test_the_exact_test_finds_the_detectable_difference_four_times_out_of_five(
    items: int, alpha: float, discordant: float
) -> None:
    difference = detectable_difference(items, alpha, discordant)
    if difference is None:
        assert items == 60 and discordant == 0.2
        return
    wins = (discordant + difference) / 2
    rng = np.random.default_rng(items)
    draws = rng.multinomial(items, [wins, discordant - wins, 1 - discordant], size=3000)
    tables, counts = np.unique(draws[:, :2], axis=0, return_counts=True)
    found = sum(int(n) for (won, lost), n in zip(tables.tolist(), counts, strict=True) if mcnemar(won, lost) <= alpha)
    assert found / 3000 >= 0.77
    # Where one model must win nearly all that tells them apart, the formula asks for more than is needed.
    assert found / 3000 <= 0.85 or difference > 0.6 * discordant


def test_fewer_items_hide_larger_differences_and_too_few_hide_all() -> None:
    seen = [detectable_difference(items, 0.05) for items in (50, 100, 400, 1600)]
    assert seen == sorted(seen, reverse=True) and seen[2] == pytest.approx(0.0902, abs=0.0001)
    assert detectable_difference(10, 0.0001) is None
    with pytest.raises(EvaluationError, match="items 0"):
        detectable_difference(0, 0.05)


def test_several_tasks_count_as_many_items_as_the_variance_of_their_mean_implies() -> None:
    assert effective_items([1.0], [200]) == 200
    assert effective_items([2.0, 2.0], [200, 200]) == pytest.approx(400)
    # Var = .9² σ²/100 + .1² σ²/400
    assert effective_items([9.0, 1.0], [100, 400]) == pytest.approx(1 / (0.81 / 100 + 0.01 / 400))


def test_no_outcome_is_clearer_than_winning_every_item() -> None:
    assert smallest_p_value([1.0], [5]) == mcnemar(5, 0) == 1 / 32
    # Two tasks of one weight and size count alike; of two sizes, sign patterns are drawn.
    assert smallest_p_value([1.0, 1.0], [10, 10]) == 2**-20
    unequal = [
        Stratum(0.5, tuple(f"a{i}" for i in range(9)), (1.0,) * 9),
        Stratum(0.5, tuple("bcdefghijk"), (1.0,) * 10),
    ]
    none = [Stratum(stratum.weight, stratum.items, (0.0,) * len(stratum.items)) for stratum in unequal]
    assert smallest_p_value([0.5, 0.5], [9, 10]) == 1 / 20_000
    assert paired_difference(unequal, none, seed=1).p_value >= 1 / 20_000


def test_two_models_that_answer_alike_may_still_differ_by_the_limit_of_few_items() -> None:
    one = [Stratum(1.0, tuple(map(str, range(80))), (1.0,) * 80)]
    two = [Stratum(0.25, one[0].items, one[0].values), Stratum(0.75, tuple("abcdefgh"), (0.0,) * 8)]
    for confidence in (0.5, 0.8, 0.95):
        for strata, weights in ((one, [3.0]), (two, [1.0, 3.0])):
            expected = paired_difference(strata, strata, seed=0, confidence=2 * confidence - 1).low
            counts = [len(stratum.items) for stratum in strata]
            assert identical_limit(weights, counts, confidence) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("items", "drop", "discordant"), [(200, 0.05, 0.5), (300, 0.1, 0.5), (400, 0.05, 0.2)])
def test_an_equal_model_keeps_a_guard_as_often_as_the_plan_says(items: int, drop: float, discordant: float) -> None:
    expected = chance_to_keep(items, drop, 0.05, discordant)
    draws = np.random.default_rng(items).multinomial(items, [discordant / 2, discordant / 2, 1 - discordant], size=2000)
    kept = sum(tango(won, lost, items, confidence=0.9).low > -drop for won, lost, _ in draws.tolist())
    assert kept / 2000 == pytest.approx(expected, abs=0.05)
    enough = items_to_keep(drop, 0.05, discordant)
    assert chance_to_keep(enough, drop, 0.05, discordant) == pytest.approx(0.8, abs=0.01)
    assert chance_to_keep(items, drop_to_keep(items, 0.05, discordant), 0.05, discordant) == pytest.approx(0.8)

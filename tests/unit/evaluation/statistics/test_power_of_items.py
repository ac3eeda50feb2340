"""What a plan promises to see, held against simulated models and the very test that the gate applies."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.errors import EvaluationError
from evaluation.statistics.paired import mcnemar
from evaluation.statistics.power import detectable_difference, effective_items


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

"""A few of the benchmark's simulated cycles: gate and cards against models whose true scores are known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.simulated_cycles import Setting, make_cast, simulate

pytestmark = pytest.mark.slow


def test_simulated_models_have_the_true_scores_that_they_are_said_to_have() -> None:
    for graded in (False, True):
        results = make_cast(Setting("", 3, (1, 1, 1), 2, 0.5, graded=graded), np.random.default_rng(0))
        found = results.search_scores(range(len(results.abilities)), 60_000)
        assert np.abs(found - results.truth).max() < 0.01


def test_the_intervals_of_cards_hold_and_hardly_any_claim_is_wrong() -> None:
    told = [simulate(Setting("", 60, (60, 100, 100), 2, 0.5), seed) for seed in range(40)]
    cards = sum(one.published for one in told)
    assert cards > 40
    assert 0.91 <= np.mean([hit for one in told for hit in (*one.scores, *one.leads)]) <= 0.985
    assert sum(one.wrong_cards for one in told) / cards <= 0.05
    assert sum(one.falsely for one in told) <= 2


def test_where_no_merge_is_better_the_best_of_many_looks_so_and_is_not_published() -> None:
    told = [simulate(Setting("", 100, (60, 100, 100), 2, 0.0), seed) for seed in range(40)]
    assert sum(one.falsely for one in told) <= 2
    assert np.mean([gain for one in told for gain in one.gains]) > 0.08


def test_two_metrics_of_the_same_items_are_as_right_and_alike_and_two_tasks_are_not() -> None:
    for shared, expected in ((0.7, 0.9), (0.0, 0.0)):
        setting = Setting("", 3, (1, 1, 1), 2, 0.5, graded=True, tasks=2, shared=shared)
        results = make_cast(setting, np.random.default_rng(0))
        answers = results.answers([0], 20_000)[0, 0]
        assert np.abs(answers.mean(axis=1) - results.truth[0, 0]).max() < 0.02
        assert abs(np.corrcoef(answers)[0, 1] - expected) < 0.03
        (sat,) = results.evaluate([0], 10)
        assert len({score.item for score in sat.scores}) == (10 if shared else 20)

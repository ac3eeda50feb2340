"""Estimates of full scores from a part of the items, against data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.errors import EvaluationError
from evaluation.estimates import Array, fit

TASKS = np.repeat([0, 1], 150)


def answers(models: int, *, seed: int) -> Array:
    """Right and wrong answers by a two-parameter model: correlated abilities in two tasks, items of their own."""
    random = np.random.default_rng(seed)
    abilities = random.multivariate_normal([0, 0], [[1.5, 0.9], [0.9, 1.5]], models)
    slopes, difficulties = random.uniform(2, 5, len(TASKS)), random.normal(0, 1.5, len(TASKS))
    chance = 1 / (1 + np.exp(-(abilities[:, TASKS] - difficulties) * slopes))
    return (random.random(chance.shape) < chance).astype(float)


def hidden(rows: Array, share: float, *, seed: int) -> Array:
    """The rows with all but a share of each task's items unanswered, the same items for all."""
    random = np.random.default_rng(seed)
    left = rows.copy()
    for task in (0, 1):
        of = np.flatnonzero(task == TASKS)
        left[:, random.permutation(of)[int(share * len(of)) :]] = np.nan
    return left


def task_means(rows: Array) -> Array:
    return np.stack([np.nanmean(rows[:, task == TASKS], axis=1) for task in (0, 1)], axis=1)


def test_estimates_from_a_fifth_of_the_items_are_nearer_to_the_truth_than_their_plain_means() -> None:
    errors = {"estimate": 0.0, "plain mean": 0.0}
    for seed in range(5):
        data = answers(150, seed=seed)
        part = hidden(data[100:], 0.2, seed=seed)
        truth = task_means(data[100:])
        predicted = fit(data[:100], TASKS, seed=0).predict(part)
        errors["estimate"] += float(np.abs(predicted.means - truth).mean())
        errors["plain mean"] += float(np.abs(task_means(part) - truth).mean())
    assert errors["estimate"] < 0.75 * errors["plain mean"], errors


@pytest.mark.parametrize("models", [10, 30, 100])
def test_the_intervals_hold_about_as_often_as_they_say(models: int) -> None:
    held = []
    for seed in range(12):
        data = answers(models + 50, seed=seed)
        predicted = fit(data[:models], TASKS, seed=0).predict(hidden(data[models:], 0.25, seed=seed))
        held.append(np.abs(predicted.means - task_means(data[models:])) <= 1.96 * predicted.deviations)
    assert 0.90 <= np.mean(held) <= 0.995


def test_a_model_that_answered_everything_keeps_its_scores_to_the_bit() -> None:
    data = answers(40, seed=1)
    predicted = fit(data, TASKS, seed=0).predict(data)
    assert np.array_equal(predicted.items, data)
    assert np.allclose(predicted.means, task_means(data), rtol=0, atol=1e-12)
    assert not predicted.deviations.any()


def test_gaps_among_the_models_learnt_from_are_no_hindrance() -> None:
    errors = {"estimate": 0.0, "plain mean": 0.0}
    for seed in range(4):
        data = answers(160, seed=seed)
        gappy = data[:110].copy()
        gappy[30:] = hidden(gappy[30:], 0.4, seed=seed)
        part, truth = hidden(data[110:], 0.2, seed=seed + 50), task_means(data[110:])
        errors["estimate"] += np.abs(fit(gappy, TASKS, seed=0).predict(part).means - truth).mean()
        errors["plain mean"] += np.abs(task_means(part) - truth).mean()
    assert errors["estimate"] < 0.9 * errors["plain mean"], errors


def test_a_model_that_answered_nothing_is_expected_at_the_others_mean_with_their_spread() -> None:
    data = answers(60, seed=3)
    predicted = fit(data, TASKS, seed=0).predict(np.full((1, len(TASKS)), np.nan))
    assert np.allclose(predicted.means[0], task_means(data).mean(axis=0), atol=0.06)
    assert np.all(predicted.deviations[0] > 0.5 * task_means(data).std(axis=0))


def test_items_that_all_or_none_solve_leave_everything_finite() -> None:
    data = np.zeros((5, len(TASKS)))
    data[:, TASKS == 1] = 1
    predicted = fit(data, TASKS, seed=0).predict(hidden(data, 0.3, seed=0))
    assert np.allclose(predicted.means, [0, 1], atol=0.05)
    assert np.isfinite(predicted.deviations).all()


def test_scores_on_another_scale_come_back_on_it_with_intervals_that_fit_their_noise() -> None:
    random = np.random.default_rng(4)
    rates = 20 + 5 * random.standard_normal((90, 1)) + random.standard_normal((90, len(TASKS)))
    predicted = fit(rates[:60], TASKS, seed=0).predict(hidden(rates[60:], 0.2, seed=1))
    misses = np.abs(predicted.means - task_means(rates[60:]))
    assert misses.mean() < 0.5
    assert np.mean(misses <= 1.96 * predicted.deviations) > 0.8
    assert predicted.deviations.mean() < 2


def test_items_near_a_models_ability_tell_most() -> None:
    data = np.tile(np.linspace(0, 1, len(TASKS)) > 0.5, (30, 1)).astype(float)
    data[::2, 140:160] = 1 - data[::2, 140:160]  # only these tell the models apart
    model = fit(data, TASKS, seed=0)
    information = model.information(np.full((1, len(TASKS)), np.nan))
    assert information[140:160].mean() > 2 * np.delete(information, slice(140, 160)).mean()


def test_the_same_scores_give_the_same_estimates() -> None:
    data = answers(40, seed=7)
    part = hidden(data[:5], 0.3, seed=0)
    first, second = (fit(data, TASKS, seed=3).predict(part) for _ in range(2))
    assert np.array_equal(first.means, second.means)
    assert np.array_equal(first.deviations, second.deviations)


def test_a_task_nobody_was_scored_on_is_refused() -> None:
    data = answers(5, seed=0)
    data[:, TASKS == 1] = np.nan
    with pytest.raises(EvaluationError, match="task 1 has no score"):
        fit(data, TASKS, seed=0)


def test_rows_of_another_exam_are_refused() -> None:
    model = fit(answers(5, seed=0), TASKS, seed=0)
    with pytest.raises(EvaluationError, match=r"shape \(1, 3\): give models × 300 items"):
        model.predict(np.zeros((1, 3)))

"""Estimates of full scores from a part of the items, against data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.errors import EvaluationError
from evaluation.racing.estimates import Array, fit_item_model

TASKS = np.repeat([0, 1], 150)


def answers(models: int, *, seed: int) -> Array:
    """Right and wrong answers by a two-parameter model: correlated abilities in two tasks, items of their own."""
    return simulated(models, seed=seed)[0]


def simulated(models: int, *, seed: int) -> tuple[Array, Array, Array]:
    """Answers with the abilities and the difficulties that they come from."""
    random = np.random.default_rng(seed)
    abilities = random.multivariate_normal([0, 0], [[1.5, 0.9], [0.9, 1.5]], models)
    slopes, difficulties = random.uniform(2, 5, len(TASKS)), random.normal(0, 1.5, len(TASKS))
    chance = 1 / (1 + np.exp(-(abilities[:, TASKS] - difficulties) * slopes))
    return (random.random(chance.shape) < chance).astype(float), abilities, difficulties


def graded(models: int, *, seed: int) -> Array:
    """Bits per byte: items differ by much, models by little."""
    random = np.random.default_rng(seed)
    return (
        np.exp(random.normal(0, 0.7, len(TASKS)))
        + random.normal(0, 0.1, (models, 1))
        + random.normal(0, 0.05, (models, 2))[:, TASKS]
        + random.normal(0, 0.3, (models, len(TASKS)))
    )


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


def test_known_abilities_and_difficulties_are_found_again() -> None:
    data, abilities, difficulties = simulated(150, seed=2)
    model = fit_item_model(data, TASKS, seed=0)
    found = model.items.traits(model.scale.apply(data)).design[:, 1:3]
    for task in (0, 1):
        assert abs(np.corrcoef(found[:, task], abilities[:, task])[0, 1]) > 0.95
    assert np.corrcoef(model.items.coefficients[:, 0], -difficulties)[0, 1] > 0.9


def test_estimates_from_a_fifth_of_the_items_beat_plain_means() -> None:
    errors = {"estimate": 0.0, "plain mean": 0.0}
    for seed in range(5):
        data = answers(150, seed=seed)
        part = hidden(data[100:], 0.2, seed=seed)
        truth = task_means(data[100:])
        predicted = fit_item_model(data[:100], TASKS, seed=0).predict(part)
        errors["estimate"] += float(np.abs(predicted.means - truth).mean())
        errors["plain mean"] += float(np.abs(task_means(part) - truth).mean())
    assert errors["estimate"] < 0.75 * errors["plain mean"], errors


@pytest.mark.parametrize("models", [3, 10, 30, 100])
def test_the_intervals_keep_their_confidence(models: int) -> None:
    held = []
    for seed in range(12):
        data = answers(models + 50, seed=seed)
        predicted = fit_item_model(data[:models], TASKS, seed=0).predict(hidden(data[models:], 0.25, seed=seed))
        held.append(np.abs(predicted.means - task_means(data[models:])) <= 1.96 * predicted.deviations)
    assert 0.90 <= np.mean(held) <= 0.995


def test_a_model_that_answered_everything_keeps_its_scores_to_the_bit() -> None:
    data = answers(40, seed=1)
    predicted = fit_item_model(data, TASKS, seed=0).predict(data)
    assert np.array_equal(predicted.items, data)
    assert np.allclose(predicted.means, task_means(data), rtol=0, atol=1e-12)
    assert not predicted.deviations.any()


def test_the_model_is_fitted_to_scores_with_gaps() -> None:
    errors = {"estimate": 0.0, "plain mean": 0.0}
    for seed in range(4):
        data = answers(160, seed=seed)
        gappy = data[:110].copy()
        gappy[30:] = hidden(gappy[30:], 0.4, seed=seed)
        part, truth = hidden(data[110:], 0.2, seed=seed + 50), task_means(data[110:])
        errors["estimate"] += np.abs(fit_item_model(gappy, TASKS, seed=0).predict(part).means - truth).mean()
        errors["plain mean"] += np.abs(task_means(part) - truth).mean()
    assert errors["estimate"] < 0.9 * errors["plain mean"], errors


def test_a_model_without_answers_gets_the_mean_and_spread_of_the_others() -> None:
    data = answers(60, seed=3)
    predicted = fit_item_model(data, TASKS, seed=0).predict(np.full((1, len(TASKS)), np.nan))
    assert np.allclose(predicted.means[0], task_means(data).mean(axis=0), atol=0.06)
    assert np.all(predicted.deviations[0] > 0.5 * task_means(data).std(axis=0))


def test_items_that_all_or_none_solve_give_finite_estimates() -> None:
    data = np.zeros((5, len(TASKS)))
    data[:, TASKS == 1] = 1
    predicted = fit_item_model(data, TASKS, seed=0).predict(hidden(data, 0.3, seed=0))
    assert np.allclose(predicted.means, [0, 1], atol=0.05)
    assert np.isfinite(predicted.deviations).all()


def test_with_three_models_estimates_are_as_good_as_plain_means() -> None:
    errors = {"estimate": 0.0, "plain mean": 0.0}
    for seed in range(12):
        data = answers(43, seed=seed)
        part, truth = hidden(data[3:], 0.25, seed=seed), task_means(data[3:])
        errors["estimate"] += float(np.abs(fit_item_model(data[:3], TASKS, seed=0).predict(part).means - truth).mean())
        errors["plain mean"] += float(np.abs(task_means(part) - truth).mean())
    assert errors["estimate"] < 1.05 * errors["plain mean"], errors


@pytest.mark.parametrize("models", [1, 3, 30])
def test_bits_per_byte_keep_their_scale_and_get_intervals_that_fit_their_noise(models: int) -> None:
    held, errors, deviations = [], [], []
    for seed in range(8):
        data = graded(models + 30, seed=seed)
        predicted = fit_item_model(data[:models], TASKS, seed=0).predict(hidden(data[models:], 0.2, seed=seed))
        misses = np.abs(predicted.means - task_means(data[models:]))
        held.append(misses <= 1.96 * predicted.deviations)
        errors.append(misses.mean())
        deviations.append(predicted.deviations.mean())
    assert np.mean(held) >= 0.9
    if models > 1:  # one model alone cannot tell what its items differ by from what models differ by
        assert np.mean(errors) < 0.06
        assert np.mean(deviations) < 2.5 * np.mean(errors)


def test_rates_and_bits_per_byte_keep_their_own_scales() -> None:
    mixed = np.where(TASKS == 0, answers(60, seed=5), graded(60, seed=5))
    predicted = fit_item_model(mixed[:40], TASKS, seed=0).predict(hidden(mixed[40:], 0.3, seed=0))
    assert 0 <= predicted.items[:, TASKS == 0].min() <= predicted.items[:, TASKS == 0].max() <= 1
    assert np.abs(predicted.means - task_means(mixed[40:])).mean() < 0.06


def test_negated_scores_give_negated_estimates() -> None:
    data = answers(40, seed=6)
    part = hidden(data[30:], 0.3, seed=0)
    straight = fit_item_model(data[:30], TASKS, seed=0).predict(part)
    turned = fit_item_model(data[:30] - 1, TASKS, seed=0).predict(part - 1)
    assert np.allclose(turned.means, straight.means - 1, atol=1e-9)
    assert np.allclose(turned.deviations, straight.deviations, atol=1e-9)


def test_items_near_a_models_ability_have_most_information() -> None:
    data = np.tile(np.linspace(0, 1, len(TASKS)) > 0.5, (30, 1)).astype(float)
    data[::2, 140:160] = 1 - data[::2, 140:160]  # only these tell the models apart
    model = fit_item_model(data, TASKS, seed=0)
    information = model.information(np.full((1, len(TASKS)), np.nan))
    assert information[140:160].mean() > 2 * np.delete(information, slice(140, 160)).mean()


def test_the_same_scores_give_the_same_estimates() -> None:
    data = answers(40, seed=7)
    part = hidden(data[:5], 0.3, seed=0)
    first, second = (fit_item_model(data, TASKS, seed=3).predict(part) for _ in range(2))
    assert np.array_equal(first.means, second.means)
    assert np.array_equal(first.deviations, second.deviations)


def test_a_task_without_scores_is_refused() -> None:
    data = answers(5, seed=0)
    data[:, TASKS == 1] = np.nan
    with pytest.raises(EvaluationError, match="task 1 has no score"):
        fit_item_model(data, TASKS, seed=0)


def test_a_model_without_scores_changes_no_estimate() -> None:
    data = answers(20, seed=8)
    silent = np.vstack([data, np.full((1, len(TASKS)), np.nan)])
    part = hidden(data[:4], 0.3, seed=0)
    assert np.allclose(
        fit_item_model(silent, TASKS, seed=0).predict(part).means,
        fit_item_model(data, TASKS, seed=0).predict(part).means,
        atol=0.01,
    )


def test_no_candidates_get_no_estimates() -> None:
    assert fit_item_model(answers(5, seed=0), TASKS, seed=0).predict(np.empty((0, len(TASKS)))).means.shape == (0, 2)


def test_items_of_tasks_that_are_not_counted_from_0_are_refused() -> None:
    with pytest.raises(EvaluationError, match=r"tasks \[0, 2\]: count tasks from 0 without gaps"):
        fit_item_model(np.ones((3, 2)), [0, 2], seed=0)
    with pytest.raises(EvaluationError, match="no items"):
        fit_item_model(np.ones((3, 0)), [], seed=0)


def test_an_infinite_score_is_refused() -> None:
    with pytest.raises(EvaluationError, match="infinite score"):
        fit_item_model(np.full((2, len(TASKS)), np.inf), TASKS, seed=0)


def test_rows_of_another_width_are_refused() -> None:
    model = fit_item_model(answers(5, seed=0), TASKS, seed=0)
    with pytest.raises(EvaluationError, match=r"shape \(1, 3\): give models × 300 items"):
        model.predict(np.zeros((1, 3)))

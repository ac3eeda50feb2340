"""The regression against its textbook formulas, and against functions that are known."""

import numpy as np
import pytest

from merging.evolution.surrogate.gaussian_process import (
    JITTER,
    Hyperparameters,
    condition,
    fit_gaussian_process,
)


def kernel(ones, others, lengthscales, amplitude):
    """k(a, b) point by point."""
    return np.array(
        [[amplitude**2 * np.exp(-0.5 * (((a - b) / lengthscales) ** 2).sum()) for b in others] for a in ones]
    )


def test_the_posterior_is_the_textbooks_with_noise_that_differs_from_point_to_point():
    random = np.random.default_rng(0)
    points, asked = random.random((30, 3)), random.random((7, 3))
    values, noise = random.normal(5, 2, 30), random.uniform(0.1, 1.5, 30)
    lengthscales, amplitude, factor = np.array([0.3, 0.8, 2.0]), 0.9, 0.7
    found = Hyperparameters(np.log(lengthscales), np.log(amplitude), np.log(factor))
    process = condition(points, values, noise, np.arange(3), found)
    mean, unit = values.mean(), values.std()
    covariance = kernel(points, points, lengthscales, amplitude)
    inverse = np.linalg.inv(covariance + np.diag((factor * noise / unit) ** 2 + JITTER))
    between = kernel(asked, points, lengthscales, amplitude)
    means = mean + between @ inverse @ (values - mean)
    covariances = unit**2 * (kernel(asked, asked, lengthscales, amplitude) - between @ inverse @ between.T)
    assert process.predict(asked)[0] == pytest.approx(means)
    assert process.means(asked) == pytest.approx(means)
    assert process.predict(asked)[1] == pytest.approx(np.sqrt(np.diag(covariances)))
    draws = process.draw(asked, random.standard_normal((7, 40_000)))
    assert draws.mean(axis=1) == pytest.approx(means, abs=0.03)
    assert np.cov(draws) == pytest.approx(covariances, abs=0.06)


def test_a_fit_finds_which_genes_count_and_predicts_a_known_function_of_few_among_many():
    random = np.random.default_rng(1)
    for genes, count in ((4, 40), (100, 150)):
        points, asked = random.random((count, genes)), random.random((200, genes))
        values = np.sin(4 * points[:, 0]) + points[:, 1] ** 2
        truth = np.sin(4 * asked[:, 0]) + asked[:, 1] ** 2
        process = fit_gaussian_process(
            points, values + random.normal(0, 0.1, count), np.full(count, 0.1), np.arange(genes)
        )
        means, deviations = process.predict(asked)
        assert 1 - ((means - truth) ** 2).mean() / truth.var() > 0.85
        assert 0.4 < np.sqrt((((means - truth) / deviations) ** 2).mean()) < 2.2
        lengthscales = process.hyperparameters.lengthscales
        assert max(lengthscales[:2]) < min(lengthscales[2:])


def test_noise_that_is_given_too_large_is_learned_to_be_smaller():
    random = np.random.default_rng(2)
    points = random.random((80, 2))
    values = np.sin(5 * points[:, 0]) + random.normal(0, 0.02, 80)
    process = fit_gaussian_process(points, values, np.full(80, 0.2), np.arange(2))
    assert np.exp(process.hyperparameters.noise) < 0.3


def test_equal_values_are_predicted_everywhere():
    points = np.random.default_rng(3).random((20, 2))
    process = fit_gaussian_process(points, np.full(20, 0.5), np.zeros(20), np.arange(2))
    assert process.predict(points + 0.3)[0] == pytest.approx(np.full(20, 0.5))

"""Gaussian process regression of one value over points, with noise that differs from point to point.

Written out, because scikit-learn's regressor has no priors on its hyperparameters, and with a lengthscale for each gene
a handful of scores would fit anything without them.

Formulas: Rasmussen & Williams, "Gaussian Processes for Machine Learning", 2006, (2.25), (2.26), (5.9).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]

MOST_FITTED = 200
"""Most points that hyperparameters are fitted to: the time of a step grows with their cube."""

STEPS = 20
"""Most steps of a fit. It begins anew each time: what a search asks for must not depend on where it was resumed."""

JITTER = 1e-6
"""Noise variance that every point has, in units of the values' variance, for the sake of the matrix."""

SPREAD, FREE_GENES = 1.0, 12
"""Standard deviation of the priors, all of logarithms. That of the lengthscales of n > `FREE_GENES` genes is smaller by
√(n / FREE_GENES): together they could fit anything."""

REACH = 4.0
"""Largest distance of a logarithm from the middle of its prior."""


@dataclass(frozen=True)
class Hyperparameters:
    """Logarithms of what the kernel has.

    lengthscales: one per gene. amplitude: standard deviation of the values that the kernel explains, in units of
    theirs. noise: the factor by which the points' given noise (a standard deviation) is multiplied.
    """

    lengthscales: Array
    amplitude: float
    noise: float

    @classmethod
    def prior(cls, genes: int) -> Hyperparameters:
        """The middles of the priors.

        Distances of random points grow with the square root of the number of genes, so lengthscales do as well
        (Hvarfner et al. 2024, "Vanilla Bayesian optimization performs great in high dimensions"; the factor is the mode
        of their prior, e^(√2 - 3)).
        """
        return cls(np.full(genes, np.log(np.exp(np.sqrt(2) - 3) * np.sqrt(genes))), 0.0, 0.0)

    def to_vector(self) -> Array:
        """All of them in a row."""
        return np.array([*self.lengthscales, self.amplitude, self.noise])

    @classmethod
    def from_vector(cls, vector: Array) -> Hyperparameters:
        """The inverse of `to_vector`."""
        return cls(vector[:-2], float(vector[-2]), float(vector[-1]))


@dataclass(frozen=True)
class GaussianProcess:
    """The posterior of a value over points: k(a, b) = σ² exp(-½ Σ (aᵢ - bᵢ)² / ℓᵢ²), around a constant.

    points: those that were learned from, scaled by the lengthscales. scales: of each column. factor: lower Cholesky
    factor of their covariance with noise. weights: that covariance's inverse times the values. offset, unit: what the
    values were standardised by.
    """

    hyperparameters: Hyperparameters
    points: Array
    scales: Array
    factor: Array
    weights: Array
    offset: float
    unit: float

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Mean and standard deviation at points (points × columns), without the noise of a score."""
        covariances = self._kernel(points / self.scales, self.points)
        explained = solve_triangular(self.factor, covariances.T, lower=True, check_finite=False)
        variances = np.exp(2 * self.hyperparameters.amplitude) - np.einsum("ij,ij->j", explained, explained)
        return self.offset + self.unit * covariances @ self.weights, self.unit * np.sqrt(np.maximum(variances, 0.0))

    def means(self, points: Array) -> Array:
        """The means alone, for less time."""
        means: Array = self.offset + self.unit * self._kernel(points / self.scales, self.points) @ self.weights
        return means

    def draw(self, points: Array, normals: Array) -> Array:
        """Joint draws at points (points × draws), from standard normal ones of the same shape."""
        scaled = points / self.scales
        covariances = self._kernel(scaled, self.points)
        explained = solve_triangular(self.factor, covariances.T, lower=True, check_finite=False)
        remaining = self._kernel(scaled, scaled) - explained.T @ explained
        # More than rounding can take away from an eigenvalue, so that there is a factor.
        remaining[np.diag_indices_from(remaining)] += 10 * JITTER
        root = cholesky(remaining, lower=True, check_finite=False)
        draws: Array = self.offset + self.unit * ((covariances @ self.weights)[:, None] + root @ normals)
        return draws

    def _kernel(self, ones: Array, others: Array) -> Array:
        squares = (ones**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * ones @ others.T
        covariances: Array = np.exp(2 * self.hyperparameters.amplitude - 0.5 * np.maximum(squares, 0.0))
        return covariances


def fit_gaussian_process(points: Array, values: Array, noise: Array, genes: NDArray[np.intp]) -> GaussianProcess:
    """Learn values at points.

    points: points × columns. noise: standard deviation of each value, up to a factor that all share and that is
    learned. genes: the gene of each column; a gene's columns share a lengthscale.

    The hyperparameters are the most probable ones (maximum a posteriori) under normal priors of their logarithms.
    """
    offset = float(values.mean())
    unit = float(values.std()) or 1.0
    standardised, variances = (values - offset) / unit, (noise / unit) ** 2
    fitted = np.unique(np.linspace(0, len(points) - 1, MOST_FITTED).astype(int))
    found = _fit_hyperparameters(points[fitted], standardised[fitted], variances[fitted], genes)
    return condition(points, values, noise, genes, found)


def condition(
    points: Array, values: Array, noise: Array, genes: NDArray[np.intp], hyperparameters: Hyperparameters
) -> GaussianProcess:
    """The posterior given values at points, by known hyperparameters; arguments as `fit_gaussian_process`."""
    offset = float(values.mean())
    unit = float(values.std()) or 1.0
    scales = np.exp(hyperparameters.lengthscales)[genes]
    scaled = points / scales
    blank = GaussianProcess(hyperparameters, scaled, scales, np.empty(0), np.empty(0), offset, unit)
    covariance = blank._kernel(scaled, scaled)
    covariance[np.diag_indices_from(covariance)] += np.exp(2 * hyperparameters.noise) * (noise / unit) ** 2 + JITTER
    factor = cholesky(covariance, lower=True, check_finite=False)
    weights = cho_solve((factor, True), (values - offset) / unit, check_finite=False)
    return GaussianProcess(hyperparameters, scaled, scales, factor, weights, offset, unit)


def _fit_hyperparameters(points: Array, values: Array, variances: Array, genes: NDArray[np.intp]) -> Hyperparameters:
    count = int(genes.max()) + 1
    distances = np.zeros((count, len(points), len(points)))
    for column, gene in zip(points.T, genes, strict=True):
        distances[gene] += (column[:, None] - column) ** 2
    flat = distances.reshape(count, -1)
    middle = Hyperparameters.prior(count).to_vector()
    spreads = np.full(count + 2, SPREAD)
    spreads[:count] *= min(1.0, np.sqrt(FREE_GENES / count))

    def cost(vector: Array) -> tuple[float, Array]:
        """Minus the logarithm of the posterior density, up to a constant, and its gradient."""
        inverse_squares = np.exp(-2 * vector[:count])
        kernel = np.exp(2 * vector[-2] - 0.5 * (inverse_squares @ flat).reshape(len(points), -1))
        noise = np.exp(2 * vector[-1]) * variances
        covariance = kernel + np.diag(noise + JITTER)
        factor = cholesky(covariance, lower=True, check_finite=False)
        weights = cho_solve((factor, True), values, check_finite=False)
        inverse = cho_solve((factor, True), np.eye(len(points)), check_finite=False)
        # (5.9): half the trace of (K⁻¹ - αα') times the derivative of K.
        slopes = 0.5 * (inverse - np.outer(weights, weights))
        by_kernel = slopes * kernel
        off = (vector - middle) / spreads
        gradient = off / spreads
        gradient[:count] += inverse_squares * (flat @ by_kernel.ravel())
        gradient[-2] += 2 * by_kernel.sum()
        gradient[-1] += 2 * (np.diag(slopes) * noise).sum()
        return float(0.5 * values @ weights + np.log(np.diag(factor)).sum() + 0.5 * off @ off), gradient

    bounds = [(value - REACH, value + REACH) for value in middle]
    found = minimize(cost, middle, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS})
    return Hyperparameters.from_vector(found.x)

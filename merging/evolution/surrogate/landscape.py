"""The scores of a search over its genes: a Gaussian process for each objective, learned from what was scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from merging.evolution.surrogate.features import GenePoints
from merging.evolution.surrogate.gaussian_process import GaussianProcess, fit_gaussian_process
from merging.spaces.space import Genome, SearchSpace

Array = NDArray[np.float64]

UNKNOWN_NOISE = 0.1
"""Standard error where none is given, in units of the scores' standard deviation; what it really is, is learned."""

LEAST_NOISE = 0.5
"""Least standard error, as a share of the median: a score of 100 % has no variance, but it is not certain."""


@dataclass(frozen=True)
class Landscape:
    """Scores as functions of the genes, with what is uncertain about them.

    rates: whether each objective is a rate, modelled by the arcsine of its root, whose error does not depend on the
    rate. models: one per objective.
    """

    points: GenePoints
    rates: tuple[bool, ...]
    models: tuple[GaussianProcess, ...]

    def predict(self, genomes: Sequence[Genome]) -> tuple[Array, Array]:
        """Expected scores and their standard deviations, each (genomes × objectives), in the scores' own units.

        A score is that on very many items like those that were asked: the noise of the items is smoothed away, in
        genomes that were scored, too. The deviation says how uncertain that is.
        """
        points = self.points(genomes)
        columns = [model.predict(points) for model in self.models]
        found = [
            rate_moments(mean, deviation) if rate else (mean, deviation)
            for rate, (mean, deviation) in zip(self.rates, columns, strict=True)
        ]
        means, deviations = zip(*found, strict=True)
        return np.column_stack(means), np.column_stack(deviations)

    def medians(self, genomes: Sequence[Genome]) -> Array:
        """The middles of the scores' distributions (genomes × objectives), for less time than `predict`."""
        points = self.points(genomes)
        return np.column_stack(
            [_unfold(model.means(points), rate) for model, rate in zip(self.models, self.rates, strict=True)]
        )

    def draw(self, genomes: Sequence[Genome], count: int, random: np.random.Generator) -> Array:
        """Joint draws of the scores, (genomes × draws × objectives)."""
        points = self.points(genomes)
        return np.stack(
            [
                _unfold(model.draw(points, random.standard_normal((len(points), count))), rate)
                for model, rate in zip(self.models, self.rates, strict=True)
            ],
            axis=-1,
        )


def fit_landscape(
    space: SearchSpace,
    genomes: Sequence[Genome],
    scores: Sequence[Sequence[float]] | Array,
    errors: Sequence[Sequence[float] | None] | None = None,
) -> Landscape:
    """Learn the scores of a space's genomes.

    scores: genomes × objectives; failed candidates are left out. An objective is taken for a rate if all its scores are
        between 0 and 1.
    errors: standard errors of the scores, in their units, such as √(p(1-p)/n) of a rate on n items, and larger ones for
        estimates; None where unknown. Each objective has a factor for all of its errors, which is learned: scores of
        different genomes on the same items differ by less than their errors.
    """
    table = np.asarray(scores, dtype=float)
    points = GenePoints(space)
    places = points(genomes)
    rates = tuple(bool(((column >= 0) & (column <= 1)).all()) for column in table.T)
    noise = _fill_errors(table, errors)
    models = []
    for number, rate in enumerate(rates):
        values, deviations = _fold(table[:, number], noise[:, number]) if rate else (table[:, number], noise[:, number])
        deviations = np.maximum(deviations, LEAST_NOISE * np.median(deviations))
        models.append(fit_gaussian_process(places, values, deviations, points.genes))
    return Landscape(points, rates, tuple(models))


def rate_moments(means: Array, deviations: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of sin² y for normal y, from E cos(ky) = cos(k m) exp(-k² s² / 2)."""
    second, fourth = (np.cos(k * means) * np.exp(-((k * deviations) ** 2) / 2) for k in (2, 4))
    # sin² y = (1 - cos 2y) / 2, and cos² 2y = (1 + cos 4y) / 2.
    variances = ((1 + fourth) / 2 - second**2) / 4
    return (1 - second) / 2, np.sqrt(np.maximum(variances, 0.0))


def _fill_errors(scores: Array, errors: Sequence[Sequence[float] | None] | None) -> Array:
    """Standard errors of all scores: where none is given the median of the others."""
    given = [None] * len(scores) if errors is None else list(errors)
    known = [row for row in given if row is not None]
    usual = np.median(np.array(known), axis=0) if known else UNKNOWN_NOISE * scores.std(axis=0)
    return np.array([usual if row is None else row for row in given])


def _fold(rates: Array, errors: Array) -> tuple[Array, Array]:
    """The arcsine of the root of rates, and of their errors: the larger of those upwards and downwards."""
    values, high, low = (
        np.arcsin(np.sqrt(np.clip(numbers, 0, 1))) for numbers in (rates, rates + errors, rates - errors)
    )
    return values, np.maximum(high - values, values - low)


def _unfold(values: Array, rate: bool) -> Array:
    return np.sin(np.clip(values, 0, np.pi / 2)) ** 2 if rate else values

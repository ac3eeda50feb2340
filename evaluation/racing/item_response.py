"""A multidimensional two-parameter item response model (Reckase 2009), fitted by variational EM.

The expected score of model c on item i is σ(x_c · β_i). x_c is 1 followed by the model's traits, β_i the item's
easiness followed by its loadings: how much each trait counts for it. The traits are one ability for each task, and a
few shared traits for what items have in common within or across tasks; over models they are correlated. β_i and x_c
have normal priors. σ is replaced by Jaakkola and Jordan's bound (2000), exact at ± one point for each model and item;
under it both steps of EM are ridge regressions: first all x_c given the β_i, then all β_i given the x_c.

Scores that are on no 0..1 scale have no σ ("linear" items); for them the model is a factor analysis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError

Array = NDArray[Any]

_ROUNDS = 25  # rounds of EM; rankings do not change after them
_SHARED_TRAITS = 3  # at most
_MODELS_A_TRAIT = 10  # models needed for each shared trait
_EASINESS_SPREAD = 1.5  # prior deviation of items around their task's mean, in logits
_LOADING_SPREAD = 0.3  # prior deviation of loadings around 1 for the task's ability, 0 for other traits
_UNCORRELATED = 4.0  # weight of the prior that traits are not correlated, in models
_LEAST_DISPERSION = 0.01


@dataclass(frozen=True)
class ScoreScale:
    """The model's scale of each item: (score - low) / range, in 0..1 unless `linear`.

    lows, ranges, linear: one for each item. mean_variance: for linear items the prior variance of the item's mean
    around `low`, in squared ranges.
    """

    lows: Array
    ranges: Array
    linear: Array
    mean_variance: Array

    @classmethod
    def of(cls, table: Array, tasks: Array) -> ScoreScale:
        """The scales of a table of scores (models × items, NaN where there is none).

        A task's scores are taken for rates (0..1, or -1..0 if lower is better) if they lie in that range and some are
        at an end of it, as right or wrong answers and F1 are; other scores, such as bits per byte, are standardised.
        Raises EvaluationError for a task without scores.
        """
        lows, ranges = np.zeros(len(tasks)), np.ones(len(tasks))
        linear, mean_variance = np.zeros(len(tasks), dtype=bool), np.ones(len(tasks))
        for task in range(int(tasks.max()) + 1):
            of = tasks == task
            scores = table[:, of][~np.isnan(table[:, of])]
            if not scores.size:
                raise EvaluationError(f"estimates: task {task} has no score to learn from: score a model on it first")
            low = -1.0 if scores.min() < 0 else 0.0
            if scores.min() >= low and scores.max() <= low + 1 and np.isin(scores, (low, low + 1)).any():
                lows[of] = low
            else:
                linear[of] = True
                lows[of], ranges[of], mean_variance[of] = _standardise(table[:, of])
        return cls(lows, ranges, linear, mean_variance)

    def apply(self, rows: Array) -> ScaledScores:
        """Scores (models × items, NaN where there is none) on this scale."""
        seen = ~np.isnan(rows)
        values = (np.where(seen, rows, self.lows) - self.lows) / self.ranges
        return ScaledScores(np.where(self.linear, values, np.clip(values, 0, 1)), seen)


def _standardise(scores: Array) -> tuple[Array, float, Array]:
    """A task's item means, the deviation of models around these, and the means' prior variance in its squares.

    An item without scores gets the task's mean, with the variance of item means around it.
    """
    seen = ~np.isnan(scores)
    counts = seen.sum(axis=0)
    mean, total = float(scores[seen].mean()), float(scores[seen].var())
    if counts.max() < 2:
        return np.full(len(counts), mean), float(np.sqrt(total)) or 1.0, np.ones(len(counts))
    lows = np.where(counts, np.where(seen, scores, 0.0).sum(axis=0) / np.maximum(counts, 1), mean)
    around = float((np.where(seen, scores - lows, 0.0) ** 2).sum() / np.maximum(counts - 1, 0).sum())
    around = max(around, 1e-6 * total)
    return lows, float(np.sqrt(around)) or 1.0, np.where(counts, 1.0, 1.0 + total / (around or 1.0))


@dataclass(frozen=True)
class ScaledScores:
    """Scores on the model's scale, models × items; `seen` is False where there is none."""

    values: Array
    seen: Array


@dataclass(frozen=True)
class Traits:
    """Normal posterior of the models' traits.

    design: 1 and the posterior means, models × (1 + traits). covariance: models × traits × traits.
    """

    design: Array
    covariance: Array

    @property
    def moments(self) -> Array:
        """E[x xᵀ] of each model, flattened: models × (1 + traits)²."""
        moments = _outer(self.design)
        moments[:, 1:, 1:] += self.covariance
        return _flat(moments)


@dataclass(frozen=True)
class ItemParameters:
    """Normal posterior of the items' coefficients β, and the prior of the traits.

    coefficients: means, items × (1 + traits). covariance: items × (1 + traits)². spread: covariance of the traits over
    models. dispersion: variance of each item's scores around their expectation, as a share of p(1 - p), so that it is 1
    where scores are right or wrong; in squared ranges for linear items. linear: items without a logistic function.
    """

    coefficients: Array
    covariance: Array
    spread: Array
    dispersion: Array
    linear: Array

    @cached_property
    def squares(self) -> Array:
        """ββᵀ of each item, flat: estimating one model after the other needs it many times."""
        return _flat(_outer(self.coefficients))

    @cached_property
    def loading_squares(self) -> Array:
        """The same of the loadings on traits alone."""
        return _flat(_outer(self.coefficients[:, 1:]))

    def logits(self, traits: Traits) -> Array:
        """x·β at the posterior means, models × items."""
        logits: Array = traits.design @ self.coefficients.T
        return logits

    def trait_variance(self, traits: Traits) -> Array:
        """Variance of the logits due to uncertain traits, models × items."""
        variance: Array = _flat(traits.covariance) @ self.loading_squares.T
        return variance

    def item_variance(self, traits: Traits) -> Array:
        """Variance of the logits due to uncertain coefficients, models × items."""
        variance: Array = _flat(_outer(traits.design)) @ _flat(self.covariance).T
        return variance

    def expected(self, logits: Array, variance: Array) -> Array:
        """Expected scores for logits with this variance, by the probit approximation (MacKay 1992)."""
        return np.where(self.linear, logits, _logistic(logits / np.sqrt(1 + np.pi * variance / 8)))

    def slope(self, expected: Array) -> Array:
        """Derivative of expected scores by their logits, p(1 - p)."""
        return np.where(self.linear, 1.0, expected * (1 - expected))

    def noise(self, traits: Traits) -> Array:
        """Variance of single scores around their expectation at the traits' means, models × items.

        dispersion · E[p(1 - p)] + Var(p), where p varies with the item's uncertain coefficients.
        """
        logits, own = self.logits(traits), self.item_variance(traits)
        expected = self.expected(logits, self.trait_variance(traits) + own)
        slope = self.slope(expected)
        varies = np.where(self.linear, own, np.minimum(slope**2 * own, slope))
        return np.where(self.linear, self.dispersion + own, self.dispersion * (slope - varies) + varies)

    def traits(self, scores: ScaledScores) -> Traits:
        """Posterior of each model's traits given its own scores and these items."""
        bound = np.ones(scores.values.shape)
        for _ in range(_ROUNDS):
            traits = _fit_traits(_Weights.of(scores, self, bound), self)
            bound = _bound_points(self, traits)
        return self._with_item_uncertainty(traits, scores)

    def _with_item_uncertainty(self, traits: Traits, scores: ScaledScores) -> Traits:
        """Traits with a covariance widened by that of the coefficients, by the sandwich formula (Huber 1967)."""
        logits = self.logits(traits)
        slope = self.slope(self.expected(logits, np.zeros(1)))
        noise = np.where(scores.seen, (slope / self.dispersion) ** 2 * self.item_variance(traits), 0.0)
        count = traits.covariance.shape[1]
        meat = (noise @ self.loading_squares).reshape(-1, count, count)
        return replace(traits, covariance=traits.covariance + traits.covariance @ meat @ traits.covariance)


def fit_items(scores: ScaledScores, tasks: Array, scale: ScoreScale, random: np.random.Generator) -> ItemParameters:
    """Fit the items to the scores of some models, by EM.

    Each round estimates the traits given the items, the items and the traits' covariance given the traits, and then
    moves the bound's points to where it is tightest.
    """
    prior, graded = _Prior.of(scores, tasks, scale), _graded(scores, scale.linear, tasks)
    items, bound = prior.start(scale.linear, random), np.ones(scores.values.shape)
    for _ in range(_ROUNDS):
        weights = _Weights.of(scores, items, bound)
        traits = _fit_traits(weights, items)
        items = replace(prior.fit(weights, traits, items), spread=_trait_covariance(traits))
        bound = _bound_points(items, traits)
        if graded.any():
            items = replace(items, dispersion=np.where(graded, _dispersion(scores, traits, items, tasks), 1.0))
    return items


@dataclass(frozen=True)
class _Weights:
    """Weights of both ridge regressions, models × items, 0 for missing scores.

    curvature: weight of a score, for the precision. pull: weight × target, for the right-hand side.
    """

    curvature: Array
    pull: Array

    @classmethod
    def of(cls, scores: ScaledScores, items: ItemParameters, bound: Array) -> _Weights:
        """Under the bound that is exact at logits ± `bound`, where its curvature is tanh(ξ/2)/(2ξ)."""
        counts = scores.seen / items.dispersion
        curvature = np.where(items.linear, 1.0, np.tanh(bound / 2) / (2 * bound))
        return cls(counts * curvature, counts * (scores.values - np.where(items.linear, 0.0, 0.5)))


@dataclass(frozen=True)
class _Prior:
    """Prior of the coefficients: independent normals with these means and precisions, items × (1 + traits)."""

    centre: Array
    precision: Array

    @classmethod
    def of(cls, scores: ScaledScores, tasks: Array, scale: ScoreScale) -> _Prior:
        """Each item is as easy as its task's mean, and loads on its task's ability alone."""
        of = task_membership(tasks)
        shared = min(_SHARED_TRAITS, len(scores.seen) // _MODELS_A_TRAIT)
        right = np.where(scores.seen, scores.values, 0.0).sum(axis=0) @ of
        mean = np.clip((right + 0.5) / (scores.seen.sum(axis=0) @ of + 1), 0.01, 0.99)
        easiness = np.where(scale.linear, 0.0, of @ np.log(mean / (1 - mean)))
        centre = np.concatenate([easiness[:, None], of, np.zeros((len(tasks), shared))], axis=1)
        precision = np.full(centre.shape, 1 / _LOADING_SPREAD**2)
        precision[:, 0] = np.where(scale.linear, 1 / scale.mean_variance, 1 / _EASINESS_SPREAD**2)
        return cls(centre, precision)

    def start(self, linear: Array, random: np.random.Generator) -> ItemParameters:
        """The prior's means, with small random loadings on the shared traits: equal ones would stay equal."""
        start = self.centre.copy()
        shared = np.all(self.centre == 0, axis=0)
        shared[0] = False
        start[:, shared] = 0.1 * random.standard_normal((len(start), int(shared.sum())))
        count, width = start.shape
        return ItemParameters(start, np.zeros((count, width, width)), np.eye(width - 1), np.ones(count), linear)

    def fit(self, weights: _Weights, traits: Traits, items: ItemParameters) -> ItemParameters:
        """EM's step for the items: a ridge regression of each on the models' traits."""
        width = self.centre.shape[1]
        precision = (weights.curvature.T @ traits.moments).reshape(-1, width, width)
        precision[:, range(width), range(width)] += self.precision
        covariance = np.linalg.inv(precision)
        right = weights.pull.T @ traits.design + self.precision * self.centre
        return replace(items, coefficients=(covariance @ right[..., None])[..., 0], covariance=covariance)


def _fit_traits(weights: _Weights, items: ItemParameters) -> Traits:
    """EM's step for the models: a ridge regression of each on the items' loadings."""
    width = items.coefficients.shape[1]
    outer = (weights.curvature @ items.squares).reshape(-1, width, width)
    covariance = np.linalg.inv(outer[:, 1:, 1:] + np.linalg.inv(items.spread))
    means = (covariance @ (weights.pull @ items.coefficients[:, 1:] - outer[:, 0, 1:])[..., None])[..., 0]
    return Traits(np.concatenate([np.ones((len(means), 1)), means], axis=1), covariance)


def _bound_points(items: ItemParameters, traits: Traits) -> Array:
    """The points at which the bound is tightest: the root of E[logit²], models × items."""
    points: Array = np.sqrt(np.maximum(traits.moments @ items.squares.T, 1e-6))
    return points


def _trait_covariance(traits: Traits) -> Array:
    """Covariance of the traits over models, with one model's worth of the identity, shrunk towards its diagonal."""
    outer = _outer(traits.design[:, 1:]) + traits.covariance
    count, total = len(outer), outer.sum(axis=0) + np.eye(outer.shape[1])
    diagonal = np.diag(np.diag(total)) / (count + 1)
    spread: Array = (total + _UNCORRELATED * diagonal) / (count + 1 + _UNCORRELATED)
    return spread


def _graded(scores: ScaledScores, linear: Array, tasks: Array) -> Array:
    """Which items belong to tasks whose scores are not all right or wrong."""
    between = scores.seen & (scores.values != 0) & (scores.values != 1)
    of = task_membership(tasks)
    graded: Array = of @ ((between.any(axis=0) | linear) @ of) > 0
    return graded


def _dispersion(scores: ScaledScores, traits: Traits, items: ItemParameters, tasks: Array) -> Array:
    """Each item's dispersion (see ItemParameters), the same for all items of a task: E[(score - p)²] / E[p(1 - p)]."""
    of, expected = task_membership(tasks), items.expected(items.logits(traits), np.zeros(1))
    slope, variance = items.slope(expected), items.trait_variance(traits) + items.item_variance(traits)
    squares = np.where(scores.seen, (scores.values - expected) ** 2 + slope**2 * variance, 0.0).sum(axis=0) @ of
    binomial = np.where(scores.seen, slope, 0.0).sum(axis=0) @ of
    shares = of @ (squares / np.maximum(binomial, 1e-12))
    dispersion: Array = np.clip(shares, _LEAST_DISPERSION, np.where(items.linear, np.inf, 1.0))
    return dispersion


def task_membership(tasks: Array) -> Array:
    """Items × tasks, 1 where an item belongs to a task."""
    return np.asarray(tasks[:, None] == np.arange(int(tasks.max()) + 1), dtype=float)


def _outer(rows: Array) -> Array:
    outer: Array = rows[:, :, None] * rows[:, None, :]
    return outer


def _flat(matrices: Array) -> Array:
    return matrices.reshape(len(matrices), matrices.shape[1] * matrices.shape[2])


def _logistic(logits: Array) -> Array:
    chance: Array = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    return chance

"""A multidimensional two-parameter item response model (Reckase 2009), fitted by variational EM.

A score is expected at σ(xc·βᵢ): xc is 1 and a model's traits, βᵢ an item's easiness and its loadings on the traits.
Traits are one ability for each task, and a few more for what items share across or within tasks; they are correlated.
Items and traits have normal priors. For the logistic function stands Jaakkola and Jordan's bound (2000), under which
both steps of EM are ridge regressions. Scores on no 0..1 scale have no σ: for them it is a factor analysis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError

Array = NDArray[Any]

_ROUNDS = 25  # of EM; rankings no longer move
_TRAITS_BESIDE_ABILITY = 3
_MODELS_A_TRAIT = 10  # so many must there be for each trait beside the abilities
_EASINESS_SPREAD = 1.5  # logits, of items around their task's mean
_LOADING_SPREAD = 0.3
_UNCORRELATED = 4.0  # models' worth of belief that traits are not correlated
_LEAST_DISPERSION = 0.01


@dataclass(frozen=True)
class Scale:
    """How each item's scores become what the model speaks of: (score - low) / range, in 0..1 unless `linear`.

    lows, ranges, linear: one for each item. doubt: variance of a linear item's mean around `low`, in squared ranges.
    """

    lows: Array
    ranges: Array
    linear: Array
    doubt: Array

    @classmethod
    def of(cls, table: Array, tasks: Array) -> Scale:
        """A task keeps 0..1, or -1..0 where lower is better, if some score is wholly right or wrong; else standardised.

        Bits per byte may happen to be within 0..1, but hardly at its ends, as rates and F1 are on some items.
        """
        lows, ranges = np.zeros(len(tasks)), np.ones(len(tasks))
        linear, doubt = np.zeros(len(tasks), dtype=bool), np.ones(len(tasks))
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
                lows[of], ranges[of], doubt[of] = _standards(table[:, of])
        return cls(lows, ranges, linear, doubt)

    def answers(self, rows: Array) -> Answers:
        """Rows on this scale."""
        seen = ~np.isnan(rows)
        values = (np.where(seen, rows, self.lows) - self.lows) / self.ranges
        return Answers(np.where(self.linear, values, np.clip(values, 0, 1)), seen)


def _standards(scores: Array) -> tuple[Array, float, Array]:
    """Means of a task's items, the deviation of models around them, and how doubtful each mean is beside that."""
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
class Answers:
    """Scores on the model's scale, models × items, and which there are."""

    values: Array
    seen: Array


@dataclass(frozen=True)
class Traits:
    """What is believed of models: design is 1 and the traits' means, models × (1 + traits); and their covariances."""

    design: Array
    covariance: Array

    @property
    def moments(self) -> Array:
        """E[x xᵀ], models × (1 + traits)²."""
        moments = _outer(self.design)
        moments[:, 1:, 1:] += self.covariance
        return _flat(moments)


@dataclass(frozen=True)
class Items:
    """What is believed of items.

    coefficients: items × (1 + traits), with their covariances. spread: covariance of the traits over models.
    dispersion: variance of scores around their expectation, as a share of a coin's p(1 - p); 1 for right or wrong.
    linear: which items have no logistic function; their dispersion is in squared ranges.
    """

    coefficients: Array
    covariance: Array
    spread: Array
    dispersion: Array
    linear: Array

    def logits(self, traits: Traits) -> Array:
        """Models × items, at the traits' means."""
        logits: Array = traits.design @ self.coefficients.T
        return logits

    def doubt(self, traits: Traits) -> Array:
        """Variance of the logits because of the traits' covariance, models × items."""
        loadings = self.coefficients[:, 1:]
        doubt: Array = _flat(traits.covariance) @ _flat(_outer(loadings)).T
        return doubt

    def own_doubt(self, traits: Traits) -> Array:
        """Variance of the logits because items were learnt from few models, models × items."""
        doubt: Array = _flat(_outer(traits.design)) @ _flat(self.covariance).T
        return doubt

    def expected(self, logits: Array, doubt: Array) -> Array:
        """Scores to expect where logits have this variance, by the probit approximation (MacKay 1992)."""
        return np.where(self.linear, logits, _logistic(logits / np.sqrt(1 + np.pi * doubt / 8)))

    def slope(self, expected: Array) -> Array:
        """By how much expected scores grow with their logits."""
        return np.where(self.linear, 1.0, expected * (1 - expected))

    def noise(self, traits: Traits) -> Array:
        """Variance of single scores around what is expected at the traits' means, models × items.

        dispersion · E[p(1 - p)] + Var(p), where p varies with the item's own coefficients.
        """
        logits, own = self.logits(traits), self.own_doubt(traits)
        expected = self.expected(logits, self.doubt(traits) + own)
        slope = self.slope(expected)
        varies = np.where(self.linear, own, np.minimum(slope**2 * own, slope))
        return np.where(self.linear, self.dispersion + own, self.dispersion * (slope - varies) + varies)

    def traits(self, answers: Answers) -> Traits:
        """What answers tell of models, by themselves."""
        bound = np.ones(answers.values.shape)
        for _ in range(_ROUNDS):
            traits = _believed(_Weights.of(answers, self, bound), self)
            bound = _touching(self, traits)
        return self._doubting_itself(traits, answers)

    def _doubting_itself(self, traits: Traits, answers: Answers) -> Traits:
        """Traits with the covariance of the sandwich formula (Huber 1967): the items' coefficients are not certain."""
        logits = self.logits(traits)
        slope = self.slope(self.expected(logits, np.zeros(1)))
        noise = np.where(answers.seen, (slope / self.dispersion) ** 2 * self.own_doubt(traits), 0.0)
        count = traits.covariance.shape[1]
        meat = (noise @ _flat(_outer(self.coefficients[:, 1:]))).reshape(-1, count, count)
        return replace(traits, covariance=traits.covariance + traits.covariance @ meat @ traits.covariance)


def learn(answers: Answers, tasks: Array, scale: Scale, random: np.random.Generator) -> Items:
    """The items of models × items answers, with gaps."""
    prior, graded = _Prior.of(answers, tasks, scale), _graded(answers, scale.linear, tasks)
    items, bound = prior.start(scale.linear, random), np.ones(answers.values.shape)
    for _ in range(_ROUNDS):
        weights = _Weights.of(answers, items, bound)
        traits = _believed(weights, items)
        items = replace(prior.items(weights, traits, items), spread=_spread(traits))
        bound = _touching(items, traits)
        if graded.any():
            items = replace(items, dispersion=np.where(graded, _dispersion(answers, traits, items, tasks), 1.0))
    return items


@dataclass(frozen=True)
class _Weights:
    """What each answer weighs in both steps' regressions, and its weight times what it is regressed to."""

    curvature: Array
    pull: Array

    @classmethod
    def of(cls, answers: Answers, items: Items, bound: Array) -> _Weights:
        """Under the bound that touches the logistic function at ± `bound`; linear items need none."""
        counts = answers.seen / items.dispersion
        curvature = np.where(items.linear, 1.0, np.tanh(bound / 2) / (2 * bound))
        return cls(counts * curvature, counts * (answers.values - np.where(items.linear, 0.0, 0.5)))


@dataclass(frozen=True)
class _Prior:
    """Items before their scores: independent normals, items × (1 + traits)."""

    centre: Array
    precision: Array

    @classmethod
    def of(cls, answers: Answers, tasks: Array, scale: Scale) -> _Prior:
        """Each item as its task's mean, loading on its task's ability alone."""
        of = membership(tasks)
        beside = min(_TRAITS_BESIDE_ABILITY, len(answers.seen) // _MODELS_A_TRAIT)
        right = np.where(answers.seen, answers.values, 0.0).sum(axis=0) @ of
        mean = np.clip((right + 0.5) / (answers.seen.sum(axis=0) @ of + 1), 0.01, 0.99)
        easiness = np.where(scale.linear, 0.0, of @ np.log(mean / (1 - mean)))
        centre = np.concatenate([easiness[:, None], of, np.zeros((len(tasks), beside))], axis=1)
        precision = np.full(centre.shape, 1 / _LOADING_SPREAD**2)
        precision[:, 0] = np.where(scale.linear, 1 / scale.doubt, 1 / _EASINESS_SPREAD**2)
        return cls(centre, precision)

    def start(self, linear: Array, random: np.random.Generator) -> Items:
        """The centre, with loadings on the traits beside the abilities that tell these apart."""
        start = self.centre.copy()
        beside = np.all(self.centre == 0, axis=0)
        beside[0] = False
        start[:, beside] = 0.1 * random.standard_normal((len(start), int(beside.sum())))
        count, width = start.shape
        return Items(start, np.zeros((count, width, width)), np.eye(width - 1), np.ones(count), linear)

    def items(self, weights: _Weights, traits: Traits, items: Items) -> Items:
        """EM's step for the items: a ridge regression of each on the models' traits."""
        width = self.centre.shape[1]
        precision = (weights.curvature.T @ traits.moments).reshape(-1, width, width)
        precision[:, range(width), range(width)] += self.precision
        covariance = np.linalg.inv(precision)
        right = weights.pull.T @ traits.design + self.precision * self.centre
        return replace(items, coefficients=(covariance @ right[..., None])[..., 0], covariance=covariance)


def _believed(weights: _Weights, items: Items) -> Traits:
    """EM's step for the models: a ridge regression of each on the items' loadings."""
    width = items.coefficients.shape[1]
    outer = (weights.curvature @ _flat(_outer(items.coefficients))).reshape(-1, width, width)
    covariance = np.linalg.inv(outer[:, 1:, 1:] + np.linalg.inv(items.spread))
    means = (covariance @ (weights.pull @ items.coefficients[:, 1:] - outer[:, 0, 1:])[..., None])[..., 0]
    return Traits(np.concatenate([np.ones((len(means), 1)), means], axis=1), covariance)


def _touching(items: Items, traits: Traits) -> Array:
    """Where the bound touches the logistic function: root of E[logit²], models × items."""
    touching: Array = np.sqrt(np.maximum(traits.moments @ _flat(_outer(items.coefficients)).T, 1e-6))
    return touching


def _spread(traits: Traits) -> Array:
    """Covariance of the traits over models, held by one model's worth of the identity and drawn to a diagonal."""
    outer = _outer(traits.design[:, 1:]) + traits.covariance
    count, total = len(outer), outer.sum(axis=0) + np.eye(outer.shape[1])
    diagonal = np.diag(np.diag(total)) / (count + 1)
    spread: Array = (total + _UNCORRELATED * diagonal) / (count + 1 + _UNCORRELATED)
    return spread


def _graded(answers: Answers, linear: Array, tasks: Array) -> Array:
    """Items of tasks whose scores are not all right or wrong."""
    between = answers.seen & (answers.values != 0) & (answers.values != 1)
    of = membership(tasks)
    graded: Array = of @ ((between.any(axis=0) | linear) @ of) > 0
    return graded


def _dispersion(answers: Answers, traits: Traits, items: Items, tasks: Array) -> Array:
    """For each item its task's E[(score - expectation)²], as a share of a coin's p(1 - p) unless linear."""
    of, expected = membership(tasks), items.expected(items.logits(traits), np.zeros(1))
    slope, doubt = items.slope(expected), items.doubt(traits) + items.own_doubt(traits)
    squares = np.where(answers.seen, (answers.values - expected) ** 2 + slope**2 * doubt, 0.0).sum(axis=0) @ of
    coins = np.where(answers.seen, slope, 0.0).sum(axis=0) @ of
    shares = of @ (squares / np.maximum(coins, 1e-12))
    dispersion: Array = np.clip(shares, _LEAST_DISPERSION, np.where(items.linear, np.inf, 1.0))
    return dispersion


def membership(tasks: Array) -> Array:
    """Items × tasks, 1 where an item is of a task."""
    return np.asarray(tasks[:, None] == np.arange(int(tasks.max()) + 1), dtype=float)


def _outer(rows: Array) -> Array:
    outer: Array = rows[:, :, None] * rows[:, None, :]
    return outer


def _flat(matrices: Array) -> Array:
    return matrices.reshape(len(matrices), matrices.shape[1] * matrices.shape[2])


def _logistic(logits: Array) -> Array:
    chance: Array = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    return chance

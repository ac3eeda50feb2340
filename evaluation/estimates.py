"""A candidate's scores on all items, estimated from those that it has answered: for ranking in a search, never a card.

The model is a multidimensional two-parameter item response model (Reckase 2009): item i is solved by model c with
probability σ(bᵢ + lᵢ·zc). A model's traits z are one ability for each task, and a few more for what the tasks' items
share across or within them. It is fitted on the scores of one cycle, models × items with gaps, by variational EM on
Jaakkola and Jordan's bound of the logistic function (2000), with normal priors on items and traits: with few models it
falls back to each task's mean, and with many it knows which items go together. Scores between right and wrong count as
fractions of right; scores on another scale are first brought to 0..1, task by task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError

Array = NDArray[Any]

_ROUNDS = 25  # of EM; the fit hardly moves after fifteen
_TRAITS_BESIDE_ABILITY = 3
_ROWS_A_TRAIT = 10  # so many models must there be for each trait beside the abilities
_DIFFICULTY_SPREAD = 1.5  # logits, of items around their task's mean
_LOADING_SPREAD = 0.5
_LEAST_DISPERSION = 0.01


@dataclass(frozen=True)
class Predicted:
    """What candidates are expected to score.

    items: candidates × items; observed scores where there are any, expected ones elsewhere.
    means: candidates × tasks; of all of a task's items.
    deviations: candidates × tasks; standard deviation of that mean given what was observed, 0 where all was.
    """

    items: Array
    means: Array
    deviations: Array


@dataclass(frozen=True)
class ItemModel:
    """Items as `fit` found them.

    tasks: index of each item's task. difficulties: items. loadings: items × traits. spreads: variance of each trait.
    lows, ranges: what each item's scores are brought to 0..1 with. dispersion: for each item the variance of scores
    around their expectation as a share of a coin's p(1 - p); 1 for scores that are right or wrong. models: so many
    were learnt from.
    """

    tasks: Array
    difficulties: Array
    loadings: Array
    spreads: Array
    lows: Array
    ranges: Array
    dispersion: Array
    models: int

    def predict(self, rows: Array) -> Predicted:
        """Estimates for candidates × items, NaN where an item was not answered; EvaluationError for another width."""
        rows = _table(rows, len(self.tasks))
        seen = ~np.isnan(rows)
        traits, covariance = self._traits(rows)
        chance = self._chance(traits, covariance)
        items = np.where(seen, rows, self.lows + self.ranges * chance)
        unseen = np.where(seen, 0.0, self.ranges)
        noise = (unseen**2 * self.dispersion * chance * (1 - chance)) @ _membership(self.tasks)
        slopes = np.einsum("ci,ik,it->ctk", unseen * chance * (1 - chance), self.loadings, _membership(self.tasks))
        doubt = np.einsum("ctk,ckl,ctl->ct", slopes, covariance, slopes)
        sizes = _membership(self.tasks).sum(axis=0)
        variance = (noise + doubt) * self._widening
        return Predicted(items, items @ _membership(self.tasks) / sizes, np.sqrt(variance) / sizes)

    def information(self, rows: Array) -> Array:
        """How much each item would tell about models like these: Fisher's information on their traits, items.

        rows: as for `predict`. It is weighed by what is not known of the traits: p(1 - p) lᵀ Σ l, mean over the rows.
        """
        traits, covariance = self._traits(_table(rows, len(self.tasks)))
        chance = self._chance(traits, covariance)
        doubt = np.einsum("ik,ckl,il->ci", self.loadings, covariance, self.loadings)
        information: Array = (chance * (1 - chance) * doubt).mean(axis=0)
        return information

    @property
    def _widening(self) -> float:
        """What variances grow by because the items' coefficients were learnt from so many models only.

        The first term is that of any regression; the second was measured, for the bound is far too sure of few.
        """
        return 1 + (1 + len(self.spreads)) / self.models + (8 / self.models) ** 2

    def _traits(self, rows: Array) -> tuple[Array, Array]:
        """Each row's traits with their covariance."""
        scores, seen = _scaled(rows, self.lows, self.ranges)
        counts, bound = seen / self.dispersion, np.ones(rows.shape)
        for _ in range(_ROUNDS):
            weights = counts * _curvature(bound)
            traits, covariance = _posterior(scores, weights, counts, self.difficulties, self.loadings, self.spreads)
            bound = _second_moment(self.difficulties, self.loadings, traits, covariance)
        return traits, covariance

    def _chance(self, traits: Array, covariance: Array) -> Array:
        """Expected scores in 0..1, candidates × items: the logistic function averaged over what z may be.

        By the probit approximation of MacKay (1992).
        """
        doubt = np.einsum("ik,ckl,il->ci", self.loadings, covariance, self.loadings)
        return _logistic((self.difficulties + traits @ self.loadings.T) / np.sqrt(1 + np.pi * doubt / 8))


def fit(scores: Array, tasks: Sequence[int], *, seed: int) -> ItemModel:
    """The items' model from what some models scored on some of them.

    scores: models × items, NaN where there is none; tasks: each item's task, counted from 0; seed: of the start of
    the traits beside the abilities. EvaluationError if a task has no score at all, or if shapes do not agree.
    """
    of = np.asarray(tasks)
    table = _table(scores, len(of))
    lows, ranges = _scale(table, of)
    targets, seen = _scaled(table, lows, ranges)
    prior = _Prior.of(targets, seen, of)
    coefficients = prior.start(np.random.default_rng(seed))
    spreads = np.ones(prior.traits)
    bound, dispersion = np.ones(table.shape), np.ones(len(of))
    for _ in range(_ROUNDS):
        counts = seen / dispersion
        weights = counts * _curvature(bound)
        difficulties, loadings = coefficients[:, 0], coefficients[:, 1:]
        traits, covariance = _posterior(targets, weights, counts, difficulties, loadings, spreads)
        spreads = _spreads(traits, covariance)
        coefficients = prior.items(targets, weights, counts, traits, covariance)
        bound = _second_moment(coefficients[:, 0], coefficients[:, 1:], traits, covariance)
        chance = _logistic(coefficients[:, 0] + traits @ coefficients[:, 1:].T)
        dispersion = _dispersion(targets, seen, chance, of)
    return ItemModel(of, coefficients[:, 0], coefficients[:, 1:], spreads, lows, ranges, dispersion, len(table))


@dataclass(frozen=True)
class _Prior:
    """What is believed of the items before their scores: a normal around `centre`, items × (1 + traits)."""

    centre: Array
    precision: Array

    @classmethod
    def of(cls, targets: Array, seen: Array, tasks: Array) -> _Prior:
        """Each item as its task's mean, loading on its task's ability alone."""
        membership = _membership(tasks)
        beside = min(_TRAITS_BESIDE_ABILITY, len(targets) // _ROWS_A_TRAIT)
        answered = np.where(seen, 1.0, 0.0).sum(axis=0) @ membership
        mean = np.clip((np.where(seen, targets, 0.0).sum(axis=0) @ membership + 0.5) / (answered + 1), 0.01, 0.99)
        difficulty = membership @ np.log(mean / (1 - mean))
        centre = np.concatenate([difficulty[:, None], membership, np.zeros((len(tasks), beside))], axis=1)
        loose = np.full(centre.shape[1] - 1, 1 / _LOADING_SPREAD**2)
        return cls(centre, np.concatenate([[1 / _DIFFICULTY_SPREAD**2], loose]))

    @property
    def traits(self) -> int:
        return int(self.centre.shape[1]) - 1

    def start(self, random: np.random.Generator) -> Array:
        """The centre, with loadings on the traits beside the abilities that tell these apart."""
        start = self.centre.copy()
        beside = np.all(self.centre == 0, axis=0)
        start[:, beside] = 0.1 * random.standard_normal((len(start), int(beside.sum())))
        return start

    def items(self, targets: Array, weights: Array, counts: Array, traits: Array, covariance: Array) -> Array:
        """EM's step for the items: a ridge regression of each on the models' traits, items × (1 + traits)."""
        models, width = len(traits), self.traits + 1
        design = np.concatenate([np.ones((models, 1)), traits], axis=1)
        moments = design[:, :, None] * design[:, None, :]
        moments[:, 1:, 1:] += covariance
        left = (weights.T @ moments.reshape(models, -1)).reshape(-1, width, width) + np.diag(self.precision)
        right = (counts * (targets - 0.5)).T @ design + self.precision * self.centre
        solved: Array = np.linalg.solve(left, right[..., None])[..., 0]
        return solved


def _posterior(
    targets: Array, weights: Array, counts: Array, difficulties: Array, loadings: Array, spreads: Array
) -> tuple[Array, Array]:
    """EM's step for the models: mean (models × traits) and covariance of their traits under the bound.

    counts: as how many answers each score counts, 0 where there is none. weights: counts times the bound's curvature.
    """
    covariance = np.linalg.inv(_precision(weights, loadings, spreads))
    pull = (counts * (targets - 0.5) - weights * difficulties) @ loadings
    return np.einsum("ckl,cl->ck", covariance, pull), covariance


def _precision(weights: Array, loadings: Array, spreads: Array) -> Array:
    traits = loadings.shape[1]
    outer = (loadings[:, :, None] * loadings[:, None, :]).reshape(len(loadings), -1)
    precision: Array = (weights @ outer).reshape(-1, traits, traits) + np.diag(1 / spreads)
    return precision


def _spreads(traits: Array, covariance: Array) -> Array:
    """Variance of each trait over the models, held by one model's worth of a variance of 1."""
    total = (traits**2 + np.einsum("ckk->ck", covariance)).sum(axis=0)
    spreads: Array = (total + 1) / (len(traits) + 1)
    return spreads


def _second_moment(difficulties: Array, loadings: Array, traits: Array, covariance: Array) -> Array:
    """Root of E[(b + l·z)²], models × items: where the bound touches the logistic function."""
    mean = difficulties + traits @ loadings.T
    doubt = np.einsum("ik,ckl,il->ci", loadings, covariance, loadings, optimize=True)
    moment: Array = np.sqrt(np.maximum(mean**2 + doubt, 1e-6))
    return moment


def _curvature(bound: Array) -> Array:
    """Of Jaakkola and Jordan's bound where it touches the logistic function: tanh(ξ/2) / 2ξ."""
    curvature: Array = np.tanh(bound / 2) / (2 * bound)
    return curvature


def _scale(table: Array, tasks: Array) -> tuple[Array, Array]:
    """Lowest score and range of each item's task: 0 and 1 where all of a task's scores are within."""
    lows, ranges = np.zeros(len(tasks)), np.ones(len(tasks))
    for task in np.unique(tasks):
        of = tasks == task
        scores = table[:, of][~np.isnan(table[:, of])]
        if not scores.size:
            raise EvaluationError(f"estimates: task {task} has no score to learn from: score some model on it first")
        if scores.min() < 0 or scores.max() > 1:
            lows[of], ranges[of] = scores.min(), max(float(np.ptp(scores)), np.finfo(float).tiny)
    return lows, ranges


def _scaled(table: Array, lows: Array, ranges: Array) -> tuple[Array, Array]:
    """Scores in 0..1 (0 where there is none), and where there are some."""
    seen = ~np.isnan(table)
    return np.where(seen, np.clip((np.nan_to_num(table) - lows) / ranges, 0, 1), 0.0), seen


def _dispersion(targets: Array, seen: Array, chance: Array, tasks: Array) -> Array:
    """Variance of the scores around their expectation as a share of a coin's, by task, for each item."""
    membership = _membership(tasks)
    squares = np.where(seen, (targets - chance) ** 2, 0.0).sum(axis=0) @ membership
    coins = np.where(seen, chance * (1 - chance), 0.0).sum(axis=0) @ membership
    binary = np.all(~seen | (targets == 0) | (targets == 1), axis=0) @ membership == membership.sum(axis=0)
    by_task: Array = np.where(binary, 1.0, np.clip(squares / np.maximum(coins, 1e-12), _LEAST_DISPERSION, 1.0))
    dispersion: Array = membership @ by_task
    return dispersion


def _membership(tasks: Array) -> Array:
    """Items × tasks, 1 where an item is of a task."""
    return np.asarray(tasks[:, None] == np.arange(tasks.max() + 1), dtype=float)


def _logistic(logits: Array) -> Array:
    chance: Array = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    return chance


def _table(rows: Array, items: int) -> Array:
    table = np.asarray(rows, dtype=float)
    if table.ndim != 2 or table.shape[1] != items:
        raise EvaluationError(f"estimates: got scores of shape {table.shape}: give models × {items} items")
    if np.isinf(table).any():
        raise EvaluationError("estimates: got an infinite score: leave it out (NaN) or mend the task")
    return table

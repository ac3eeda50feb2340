"""Estimates a candidate's scores on all items from the items that it has answered. They rank candidates in a search
and never reach a card.

The estimates come from an item response model of one cycle's own scores (models × items, with gaps). With few models
they are close to each candidate's plain mean; with many, the model knows which items are hard and which go together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.errors import EvaluationError
from evaluation.racing.item_response import Array, ItemParameters, ScoreScale, fit_items, task_membership


@dataclass(frozen=True)
class Predicted:
    """Expected scores of candidates.

    items: candidates × items; the observed score where there is one, else the expected one.
    means: candidates × tasks; mean over all of a task's items.
    deviations: candidates × tasks; standard deviation of that mean given the observed scores, 0 if all are observed.
    """

    items: Array
    means: Array
    deviations: Array


@dataclass(frozen=True)
class ItemModel:
    """A fitted item response model: each item's task, scale of scores and parameters.

    models: number of models that it was fitted to.
    """

    tasks: Array
    scale: ScoreScale
    items: ItemParameters
    models: int

    def predict(self, rows: Array) -> Predicted:
        """Estimate from candidates × items, NaN where an item was not answered.

        Raises EvaluationError for another number of items.
        """
        rows = _table(rows, len(self.tasks))
        traits = self.items.traits(self.scale.apply(rows))
        expected = self.items.expected(self.items.logits(traits), self.items.trait_variance(traits))
        seen, of = ~np.isnan(rows), task_membership(self.tasks)
        items = np.where(seen, rows, self.scale.lows + self.scale.ranges * expected)
        # Variance of a task's sum over the items not seen. Their expected scores all depend on the candidate's traits
        # (slopes), so that the traits' uncertainty is shared; the noise of single scores is independent.
        unseen = np.where(seen, 0.0, self.scale.ranges)
        leverage = (unseen * self.items.slope(expected))[:, :, None] * of
        slopes = np.einsum("cit,ik->ctk", leverage, self.items.coefficients[:, 1:], optimize=True)
        shared = np.einsum("ctk,ckl,ctl->ct", slopes, traits.covariance, slopes, optimize=True)
        variance = (shared + (unseen**2 * self.items.noise(traits)) @ of) * self._student
        return Predicted(items, items @ of / of.sum(axis=0), np.sqrt(variance) / of.sum(axis=0))

    @property
    def _student(self) -> float:
        """Variance of Student's t, its degrees of freedom two more than models: their spread is itself estimated."""
        return 1 + 2 / self.models

    def information(self, rows: Array) -> Array:
        """Fisher's information of each item about the traits of models like these, one number an item.

        rows: as for `predict`. The information is weighted by the uncertainty of the traits, lᵀ Σ l, and averaged over
        the rows. Only `benchmarks.estimates` uses it, to compare an order of items by it with a random one.
        """
        traits = self.items.traits(self.scale.apply(_table(rows, len(self.tasks))))
        variance = self.items.trait_variance(traits)
        slope = self.items.slope(self.items.expected(self.items.logits(traits), variance))
        information: Array = (slope / self.items.dispersion * variance).mean(axis=0)
        return information


def fit_item_model(scores: Array, tasks: Sequence[int], *, seed: int) -> ItemModel:
    """Fit the item response model to a (models × items) score matrix with gaps.

    scores: NaN where there is none. tasks: each item's task, counted from 0. seed: seed of the start values of the
    loadings on shared traits. Raises EvaluationError if a task has no item or no score, or if shapes do not agree.
    """
    of = np.asarray(tasks)
    table = _table(scores, len(of))
    _check_tasks(of)
    scale = ScoreScale.of(table, of)
    items = fit_items(scale.apply(table), of, scale, np.random.default_rng(seed))
    return ItemModel(of, scale, items, int((~np.isnan(table)).any(axis=1).sum()))


def _check_tasks(tasks: Array) -> None:
    if not tasks.size:
        raise EvaluationError("estimates: got no items: give at least one")
    given = np.unique(tasks).tolist()
    if given != list(range(len(given))):
        raise EvaluationError(f"estimates: got items of the tasks {given}: count tasks from 0 without gaps")


def _table(rows: Array, items: int) -> Array:
    table = np.asarray(rows, dtype=float)
    if table.ndim != 2 or table.shape[1] != items:
        raise EvaluationError(f"estimates: got scores of shape {table.shape}: give models × {items} items")
    if np.isinf(table).any():
        raise EvaluationError("estimates: got an infinite score: leave it out (NaN) or fix the task")
    return table

"""A candidate's scores on all items, estimated from those that it has answered: for ranking in a search, never a card.

The estimates rest on an item response model of one cycle's own scores, models × items with gaps. With few models it
falls back to each candidate's plain mean, and with many it knows which items are hard and which go together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.errors import EvaluationError
from evaluation.racing.item_response import Array, Items, Scale, learn, membership


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
    """Items as `fit` found them: each one's task, the scale of its scores, and its part of the response model.

    models: so many were learnt from.
    """

    tasks: Array
    scale: Scale
    items: Items
    models: int

    def predict(self, rows: Array) -> Predicted:
        """Estimates for candidates × items, NaN where an item was not answered; EvaluationError for another width."""
        rows = _table(rows, len(self.tasks))
        traits = self.items.traits(self.scale.answers(rows))
        expected = self.items.expected(self.items.logits(traits), self.items.doubt(traits))
        seen, of = ~np.isnan(rows), membership(self.tasks)
        items = np.where(seen, rows, self.scale.lows + self.scale.ranges * expected)
        unseen = np.where(seen, 0.0, self.scale.ranges)
        leverage = (unseen * self.items.slope(expected))[:, :, None] * of
        slopes = np.einsum("cit,ik->ctk", leverage, self.items.coefficients[:, 1:], optimize=True)
        shared = np.einsum("ctk,ckl,ctl->ct", slopes, traits.covariance, slopes, optimize=True)
        variance = (shared + (unseen**2 * self.items.noise(traits)) @ of) * self._student
        return Predicted(items, items @ of / of.sum(axis=0), np.sqrt(variance) / of.sum(axis=0))

    @property
    def _student(self) -> float:
        """Variance of Student's t with two degrees more than models: how models vary was learnt from these alone."""
        return 1 + 2 / self.models

    def information(self, rows: Array) -> Array:
        """How much each item would tell about models like these: Fisher's information on their traits, items.

        rows: as for `predict`. It is weighed by what is not known of the traits, lᵀ Σ l, and is the rows' mean. No
        search asks for it: `benchmarks.estimates` does, to hold an order of items by it against a random one.
        """
        traits = self.items.traits(self.scale.answers(_table(rows, len(self.tasks))))
        doubt = self.items.doubt(traits)
        slope = self.items.slope(self.items.expected(self.items.logits(traits), doubt))
        information: Array = (slope / self.items.dispersion * doubt).mean(axis=0)
        return information


def fit(scores: Array, tasks: Sequence[int], *, seed: int) -> ItemModel:
    """The items' model from what some models scored on some of them.

    scores: models × items, NaN where there is none; tasks: each item's task, counted from 0; seed: of the start of
    the traits beside the abilities. EvaluationError if a task has no item or no score, or if shapes do not agree.
    """
    of = np.asarray(tasks)
    table = _table(scores, len(of))
    _check_tasks(of)
    scale = Scale.of(table, of)
    items = learn(scale.answers(table), of, scale, np.random.default_rng(seed))
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
        raise EvaluationError("estimates: got an infinite score: leave it out (NaN) or mend the task")
    return table

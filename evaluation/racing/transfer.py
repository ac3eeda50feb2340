"""Whether the scores of earlier models make the estimates of today's better."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from evaluation.racing.estimates import fit_item_model
from evaluation.racing.item_response import Array

FOLDS = 5


def earlier_scores_help(own: Array, earlier: Array, tasks: Sequence[int], asked: Array) -> bool:
    """Whether estimates are nearer to the truth if the item response model learns from earlier models, too.

    own: models × items, of today's models that answered everything. earlier: models × items, NaN where there is none.
    tasks: each item's task. asked: flags of the items that candidates answer first. Today's models are estimated from
    their scores on those items alone, each by models that were fitted to the others (cross-validation). The squared
    errors of single items decide: the few models' means would tell much less.
    """
    hidden = np.where(asked, own, np.nan)
    errors = np.zeros(2)
    for left_out in _folds(len(own)):
        learnt = np.delete(own, left_out, axis=0)
        for place, rows in enumerate((learnt, np.vstack([learnt, earlier]))):
            estimated = fit_item_model(rows, tasks, seed=0).predict(hidden[left_out]).items
            errors[place] += ((estimated - own[left_out]) ** 2).sum()
    # Rounded, or the last bit of a sum would decide where it makes no difference.
    alone, together = errors.round(9)
    return bool(together < alone)


def _folds(count: int) -> Iterator[list[int]]:
    """The indices of each fold's models."""
    for fold in range(min(FOLDS, count)):
        yield list(range(fold, count, FOLDS))

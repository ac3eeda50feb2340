"""Whether earlier models' scores are used, on simulated models whose answers follow an item response model."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.racing.estimates import fit_item_model
from evaluation.racing.item_response import Array
from evaluation.racing.transfer import earlier_scores_help

pytestmark = pytest.mark.slow

ITEMS = 120
TASKS = (0,) * ITEMS


def simulate(seed: int, easiness: Array, models: int) -> Array:
    """Right and wrong answers of models of different ability."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.2, (models, 1)) + easiness
    return (random.random((models, ITEMS)) < 1 / (1 + np.exp(-logits))).astype(float)


@pytest.mark.parametrize("seed", range(3))
def test_models_that_find_the_same_items_hard_help_and_others_do_not(seed: int) -> None:
    random = np.random.default_rng(seed)
    easiness, asked = random.normal(0, 3, ITEMS), np.isin(np.arange(ITEMS), random.permutation(ITEMS)[:12])
    own, earlier = simulate(seed + 10, easiness, 5), simulate(seed + 20, easiness, 40)
    strange = simulate(seed + 30, random.normal(4, 3, ITEMS), 40)
    assert earlier_scores_help(own, earlier, TASKS, asked)
    assert not earlier_scores_help(own, strange, TASKS, asked)

    # What five models decide holds for others, whose means are estimated.
    others = simulate(seed + 40, easiness, 60)
    models = (fit_item_model(rows, TASKS, seed=0) for rows in (own, np.vstack([own, earlier])))
    means = (model.predict(np.where(asked, others, np.nan)).means[:, 0] for model in models)
    alone, together = (np.abs(mean - others.mean(axis=1)).mean() for mean in means)
    assert together < alone

"""The clock that shows how much of a search's minutes is left."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bot.search.run import BudgetClock
from merging.evolution.outcomes import Outcome
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge

GROUPS = Partition.even(2, 1, modules_apart=False, ends_apart=False)
COD, EEL = (WeightMerge.single(ModelId(f"reef/{name}", "0" * 40), GROUPS, "float32") for name in ("cod", "eel"))


def test_a_budget_of_minutes_counts_outcomes_once_and_the_generation_that_runs() -> None:
    now = 100.0
    clock = BudgetClock(60, now=lambda: now)
    seconds = {COD.digest: 4.0, EEL.digest: 5.0}

    def evaluate(recipes: Sequence[Recipe]) -> Sequence[Outcome]:
        nonlocal now
        now += 7
        assert clock.seconds_left() == pytest.approx(left - 7)
        return [Outcome((1.0,), None, seconds[recipe.digest]) for recipe in recipes]

    timed = clock.timed(evaluate)
    left = clock.seconds_left()
    timed([COD, EEL])
    left = clock.seconds_left()
    assert left == 60 - 9  # as the search counts it, whatever the clock says
    seconds[EEL.digest] = 8.0  # it waited, and is sent again with the seconds of all its rounds
    timed([EEL])
    assert clock.seconds_left() == 60 - 12
    now += 1000
    assert clock.seconds_left() == 60 - 12

"""Measures the speed of a pool's candidates in the way that its kind of model allows."""

from __future__ import annotations

from collections.abc import Sequence

from bot.cycle.probe.layers import measure_layers
from bot.cycle.probe.steps import measure_steps
from bot.cycle.probe.timing import MeasuredSpeed
from bot.hub.client import Hub
from bot.hub.judges import JudgeModel
from bot.hub.pool.pool import Pool
from bot.scoring.resources import Resources
from bot.search.strategies.strategy import SearchStrategy
from evaluation.suites import TaskSuite
from merging.kinds import KINDS


def measure_speed(
    hub: Hub,
    pool: Pool,
    strategy: SearchStrategy,
    resources: Resources,
    suite: TaskSuite,
    judges: Sequence[JudgeModel] = (),
) -> MeasuredSpeed | None:
    """Measure the time of a candidate; None where that needs too much of the free memory.

    Fetches small files of the config source and of the judges, and keeps nothing. The report split is taken to be like
    the validation split, but for its judges.

    Raises MergingError or EvaluationError for a model or task with which a run would fail too.
    """
    measure = measure_layers if KINDS[pool.kind].has_paths else measure_steps
    return measure(hub, pool, strategy, resources, suite, judges)

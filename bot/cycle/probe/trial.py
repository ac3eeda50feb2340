"""Tries before the download what would otherwise fail at the first picture of a search.

A pipeline of the pool's settings with random weights draws a picture of each task, of which its denoiser runs once.
"""

from __future__ import annotations

from bot.cycle.probe.random_models import random_pipeline
from bot.cycle.resources import fit_resources
from bot.hub.client import Hub
from bot.hub.pool.pool import Pool
from bot.search.strategies.make import make_strategy
from bot.search.strategies.strategy import SearchedDrawing
from bot.watchlist.load import UnfitValueError
from bot.watchlist.watchlist import Watchlist
from evaluation.errors import EvaluationError
from evaluation.eval_set import AS_TASKS_SAY, OwnDrawing
from evaluation.suites import SUITES, TaskSuite, WrappedModel
from merging.kinds import KINDS


def try_tasks(hub: Hub, watchlist: Watchlist, pool: Pool) -> None:
    """Try the tasks of a watchlist whose models draw; nothing where there is too little room for it.

    Raises as `try_drawing`.
    """
    if not KINDS[pool.kind].draws:
        return
    strategy = make_strategy(watchlist, pool)
    resources, _ = fit_resources(watchlist, strategy, pool)
    skills, sizes, seed = watchlist.asked_skills, watchlist.split_sizes, watchlist.search.seed
    suite = SUITES[watchlist.kind](skills, watchlist.task_paths, sizes, seed)
    with random_pipeline(hub, pool, strategy, resources, suite) as pipeline:
        if pipeline is not None:
            try_drawing(suite, pipeline.model, strategy.drawing)


def try_drawing(suite: TaskSuite, model: WrappedModel, drawing: SearchedDrawing) -> None:
    """Try what tasks say, then the steps and sizes that are searched.

    Raises EvaluationError, a line for each task whose settings do not work, and UnfitValueError for steps or a size.
    """
    suite.try_out(model, AS_TASKS_SAY)
    for key, owns in (
        ("steps", [OwnDrawing(steps=steps) for steps in drawing.steps]),
        ("picture_sizes", [OwnDrawing(size=size) for size in drawing.sizes]),
    ):
        for own in owns:
            try:
                suite.try_out(model, own)
            except EvaluationError as error:
                fault, *_ = str(error).splitlines()
                remedy = "search others, or correct the task"
                raise UnfitValueError(("search", key), str(own.steps or own.size), f"{fault}; {remedy}") from error

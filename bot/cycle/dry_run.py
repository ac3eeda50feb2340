"""The plan of a run: what it would find, download and cost. Nothing is written, and no weights are read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime

from bot.cycle.power import ASSUMPTION, DetectableEffect, detectable_effects
from bot.cycle.resources import fit_resources
from bot.hub.candidate import Verdict
from bot.hub.client import Hub
from bot.hub.pool import NoPool, Pool, find_pool
from bot.scoring.resources import worker_memory
from bot.search.baselines import list_baselines
from bot.search.strategies.make import make_strategy
from bot.watchlist.watchlist import Watchlist
from evaluation.eval_set import TaskDescription
from evaluation.splits import Split
from evaluation.suites import CAUSAL_LM, SUITES


@dataclass(frozen=True)
class TaskPlan:
    """One task of a skill and its number of items in each split."""

    skill: str
    task: str
    metric: str
    search: int
    validation: int
    report: int


@dataclass(frozen=True)
class RunCost:
    """The cost of a run, in bytes and counts.

    disk: bytes of the downloads and the releases. memory: bytes that all workers need at once, without the sources,
    which are memory-mapped. largest: bytes of the largest merge, which has `layers` layers.
    genes: number of genes in the largest stage, at most. space_log10: decimal logarithm of the number of genomes, which
    may have thousands of digits; at most. left_out: sources whose layers the paths cannot use, because
    search.dataflow.models asks for fewer. item_scores: number of them in a search that uses its whole budget.
    """

    download: int
    disk: int
    memory: int
    workers: int
    threads: int
    device: str
    largest: int
    layers: int
    left_out: tuple[str, ...]
    genes: int
    space_log10: float
    candidates: int
    baselines: int
    item_scores: int


@dataclass(frozen=True)
class RunPlan:
    """The verdict on every candidate, the tasks, the differences that they can show, and the cost.

    visible_if: the assumption behind those differences. refusal: why there is no pool; None if there is one.
    """

    watchlist: str
    verdicts: tuple[Verdict, ...]
    licence: str | None
    tasks: tuple[TaskPlan, ...]
    visible: tuple[DetectableEffect, ...]
    visible_if: str
    cost: RunCost | None
    refusal: str | None

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def make_plan(
    hub: Hub, watchlist: Watchlist, now: datetime, on_progress: Callable[[str], None] = lambda _: None
) -> RunPlan:
    """Check everything that a run checks before it downloads weights.

    on_progress: called with a few words on the current step.

    Raises:
        ShoalError, EvaluationError, MergingError: the Hub, a task or the search space cannot be used.
    """
    skills, sizes, seed = watchlist.evaluation_skills, watchlist.split_sizes, watchlist.search.seed
    facts = SUITES[CAUSAL_LM](skills, watchlist.task_paths, sizes, seed).describe()
    planned = tuple(map(_task_plan, facts))
    try:
        pool = find_pool(hub, watchlist, now, on_progress)
    except NoPool as error:
        visible = detectable_effects(watchlist, facts, baselines=watchlist.max_sources + 1)  # with a base
        return RunPlan(watchlist.name, error.verdicts, None, planned, visible, ASSUMPTION, None, str(error))
    cost = estimate_cost(watchlist, pool, planned)
    visible = detectable_effects(watchlist, facts, cost.baselines)
    return RunPlan(watchlist.name, pool.verdicts, pool.licence.id, planned, visible, ASSUMPTION, cost, None)


def estimate_cost(watchlist: Watchlist, pool: Pool, tasks: tuple[TaskPlan, ...]) -> RunCost:
    """The cost of a run over a pool on this machine."""
    strategy = make_strategy(watchlist, pool)
    resources, needed = fit_resources(watchlist, strategy, pool)
    largest = strategy.largest_bytes(pool, watchlist.search.dtype)
    candidates = watchlist.search.budget.candidates
    return RunCost(
        download=pool.download_bytes,
        disk=pool.download_bytes + watchlist.publish.max_releases * largest,
        memory=resources.workers * worker_memory(needed),
        workers=resources.workers,
        threads=resources.threads,
        device=resources.device,
        largest=largest,
        layers=strategy.most_layers,
        left_out=tuple(source.location for source in strategy.left_out),
        genes=strategy.gene_count,
        space_log10=round(math.log10(strategy.size), 1),
        candidates=candidates,
        baselines=len(list_baselines(strategy, pool)),
        item_scores=candidates * sum(task.search for task in tasks),
    )


def _task_plan(facts: TaskDescription) -> TaskPlan:
    counts = facts.items
    return TaskPlan(
        facts.skill,
        facts.task,
        facts.metric,
        counts[Split.SEARCH],
        counts[Split.VALIDATION],
        counts[Split.REPORT],
    )

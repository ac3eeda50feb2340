"""What a run would find, download and cost. Nothing is written, and no weights are read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bot.cycle.power import ASSUMPTION, DetectableEffect, detectable_effects
from bot.hub.candidate import Verdict
from bot.hub.client import Hub
from bot.hub.pool import NoPool, Pool, find_pool
from bot.scoring.resources import choose_device, inspect_machine, plan_resources, worker_memory
from bot.search.run import baselines, evaluation_skills
from bot.search.spaces import candidate_bytes, largest_bytes, make_spaces
from bot.watchlist.watchlist import Watchlist
from evaluation.harness.tasks import TaskDescription, describe, load_tasks
from evaluation.splits import Split, SplitSizes


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
    """What a run would take. Bytes, counts of recipes and of item scores.

    disk: the downloads and the releases. memory: what all workers need at once; the sources are mapped, not counted.
    largest: bytes of the largest merge, which has `layers` layers. genes: of the largest stage, at most.
    space_log10: decimal logarithm of the number of genomes, which may have thousands of digits; at most.
    left_out: sources whose layers are not laid out, for search.dataflow.models asks for fewer.
    item_scores: of the search, if it uses its whole budget.
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
    """The verdict on every candidate, the tasks, what these can tell apart, and the cost.

    visible_if: what that rests on, in words. refusal: why there is no pool, where there is none.
    """

    watchlist: str
    verdicts: tuple[Verdict, ...]
    licence: str | None
    tasks: tuple[TaskPlan, ...]
    visible: tuple[DetectableEffect, ...]
    visible_if: str
    cost: RunCost | None
    refusal: str | None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def make_plan(
    hub: Hub, watchlist: Watchlist, now: datetime, on_progress: Callable[[str], None] = lambda _: None
) -> RunPlan:
    """Look at everything a run would look at before it downloads weights.

    tell: told in a few words what is being looked at.

    Raises:
        ShoalError, EvaluationError, MergingError: the Hub, a task or the search space cannot be used.
    """
    skills = evaluation_skills(watchlist)
    items = watchlist.items
    tasks = load_tasks(skills, [Path(folder) for folder in watchlist.task_folders])
    sizes = SplitSizes(items.search, items.validation, items.report)
    facts = describe(skills, tasks, watchlist.search.seed, sizes)
    planned = tuple(map(_task_plan, facts))
    try:
        pool = find_pool(hub, watchlist, now, on_progress)
    except NoPool as error:
        visible = detectable_effects(watchlist, facts, baselines=watchlist.max_sources + 1)  # with a base
        return RunPlan(watchlist.name, error.verdicts, None, planned, visible, ASSUMPTION, None, str(error))
    cost = estimate(watchlist, pool, planned)
    visible = detectable_effects(watchlist, facts, cost.baselines)
    return RunPlan(watchlist.name, pool.verdicts, pool.licence.id, planned, visible, ASSUMPTION, cost, None)


def estimate(watchlist: Watchlist, pool: Pool, tasks: tuple[TaskPlan, ...]) -> RunCost:
    """The cost of a run over a pool on this machine."""
    spaces, dtype = make_spaces(watchlist, pool), watchlist.search.dtype
    machine = inspect_machine(watchlist.workers.device)
    needed = candidate_bytes(spaces, pool, dtype, choose_device(machine, watchlist.workers))
    resources = plan_resources(machine, needed, watchlist.workers)
    largest = largest_bytes(spaces, pool, dtype)
    candidates = watchlist.search.budget.candidates
    return RunCost(
        download=pool.download_bytes,
        disk=pool.download_bytes + watchlist.publish.max_releases * largest,
        memory=resources.workers * worker_memory(needed),
        workers=resources.workers,
        threads=resources.threads,
        device=resources.device,
        largest=largest,
        layers=spaces.most_layers,
        left_out=tuple(source.repo for source in spaces.left_out),
        genes=spaces.genes,
        space_log10=round(math.log10(spaces.size), 1),
        candidates=candidates,
        baselines=len(baselines(spaces, pool)),
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

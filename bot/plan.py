"""What a run would find, download and cost. Nothing is written, and no weights are read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bot.contest.search import rivals, wanted_skills
from bot.contest.spaces import candidate_bytes, largest_bytes, make_spaces
from bot.hub import Hub
from bot.scoring.machine import device_for, fit_crew, look_around, worker_memory
from bot.sources.candidate import Verdict
from bot.sources.pool import NoPool, Pool, find_pool
from bot.visibility import ASSUMPTION, Visible, visible_differences
from bot.watchlist.model import Watchlist
from evaluation.splits import Split, SplitSizes
from evaluation.tasks import TaskFacts, describe, load_tasks


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
class Cost:
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
    rivals: int
    item_scores: int


@dataclass(frozen=True)
class Plan:
    """The verdict on every candidate, the tasks, what these can tell apart, and the cost.

    visible_if: what that rests on, in words. refusal: why there is no pool, where there is none.
    """

    watchlist: str
    verdicts: tuple[Verdict, ...]
    licence: str | None
    tasks: tuple[TaskPlan, ...]
    visible: tuple[Visible, ...]
    visible_if: str
    cost: Cost | None
    refusal: str | None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def make_plan(hub: Hub, watchlist: Watchlist, now: datetime, tell: Callable[[str], None] = lambda _: None) -> Plan:
    """Look at everything a run would look at before it downloads weights.

    tell: told in a few words what is being looked at.

    Raises:
        ShoalError, EvaluationError, MergingError: the Hub, a task or the search space cannot be used.
    """
    skills = wanted_skills(watchlist)
    items = watchlist.items
    tasks = load_tasks(skills, [Path(folder) for folder in watchlist.task_folders])
    sizes = SplitSizes(items.search, items.validation, items.report)
    facts = describe(skills, tasks, watchlist.search.seed, sizes)
    planned = tuple(map(_task_plan, facts))
    try:
        pool = find_pool(hub, watchlist, now, tell)
    except NoPool as error:
        visible = visible_differences(watchlist, facts, rivals=watchlist.max_sources + 1)  # with a base
        return Plan(watchlist.name, error.verdicts, None, planned, visible, ASSUMPTION, None, str(error))
    cost = estimate(watchlist, pool, planned)
    visible = visible_differences(watchlist, facts, cost.rivals)
    return Plan(watchlist.name, pool.verdicts, pool.licence.id, planned, visible, ASSUMPTION, cost, None)


def estimate(watchlist: Watchlist, pool: Pool, tasks: tuple[TaskPlan, ...]) -> Cost:
    """The cost of a run over a pool on this machine."""
    spaces, dtype = make_spaces(watchlist, pool), watchlist.search.dtype
    machine = look_around(watchlist.workers.device)
    needed = candidate_bytes(spaces, pool, dtype, device_for(machine, watchlist.workers))
    crew = fit_crew(machine, needed, watchlist.workers)
    largest = largest_bytes(spaces, pool, dtype)
    candidates = watchlist.search.budget.candidates
    return Cost(
        download=pool.download_bytes,
        disk=pool.download_bytes + watchlist.publish.max_releases * largest,
        memory=crew.workers * worker_memory(needed),
        workers=crew.workers,
        threads=crew.threads,
        device=crew.device,
        largest=largest,
        layers=spaces.most_layers,
        left_out=tuple(source.repo for source in spaces.left_out),
        genes=spaces.genes,
        space_log10=round(math.log10(spaces.size), 1),
        candidates=candidates,
        rivals=len(rivals(spaces, pool)),
        item_scores=candidates * sum(task.search for task in tasks),
    )


def _task_plan(facts: TaskFacts) -> TaskPlan:
    counts = facts.items
    return TaskPlan(
        facts.skill,
        facts.task,
        facts.metric,
        counts[Split.SEARCH],
        counts[Split.VALIDATION],
        counts[Split.REPORT],
    )

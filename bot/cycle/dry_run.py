"""The plan of a run: what it would find, download and cost. Nothing is written, and no weights are read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from bot.cycle.outlook import BudgetOutlook, make_outlook
from bot.cycle.probe.measure import measure_speed
from bot.cycle.resources import fit_resources
from bot.cycle.sources import describe_templates, find_missing_template
from bot.cycle.workload import AuditionWork, Speed, StageCost, cost_stages, list_stages
from bot.hub.client import Hub
from bot.hub.discovery.candidate import Verdict
from bot.hub.judges import JudgeModel, find_judges
from bot.hub.pool.choice import invite_to_audition, needs_audition
from bot.hub.pool.find import find_family, take_first
from bot.hub.pool.pool import Family, NoPool, Pool
from bot.ledger.ledger import RESUMED, Ledger
from bot.release.power import (
    ASSUMPTION,
    DetectableEffect,
    GuardPower,
    describe_hopelessness,
    detectable_effects,
    guard_powers,
    refuse_counts,
)
from bot.scoring.dtype_speed import describe_slow_dtype
from bot.scoring.resources import Resources, run_memory
from bot.search.baselines import list_baselines
from bot.search.guards import refuse_references
from bot.search.recall import Recall, todays_models
from bot.search.results import RecallPlan
from bot.search.strategies.make import make_strategy
from bot.search.strategies.strategy import SearchStrategy
from bot.watchlist.watchlist import Watchlist
from evaluation.errors import TaskDataError
from evaluation.eval_set import TaskDescription
from evaluation.splits import Split
from evaluation.suites import SUITES, TaskSuite


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

    auditioned: number of models that compete for the places in a merge; 0 if no more fit than there are places.
    places: places beside pinned models. download: bytes of the sources and of the models that judge their pictures.
    disk: bytes of the downloads, of what adapters add to their bases, and of the
    releases or, if that is more, of the conversion of pickles before them. memory: bytes that all processes need at
    once, without the sources, which are memory-mapped. largest: bytes of the largest merge, which has `layers` layers.
    genes: number of genes in the largest stage, at most. space_log10: decimal logarithm of the number of genomes, which
    may have thousands of digits; at most. left_out: sources whose layers the paths cannot use, because
    search.dataflow.models asks for fewer. surrogate: whether a model of the scores chooses candidates. stages: what the
    run scores, in its order. seconds: of all scoring; None where the machine was not measured. drawing: what is
    searched of the drawing of pictures, in words; "" for nothing.
    """

    auditioned: int
    places: int
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
    surrogate: bool
    baselines: int
    item_scores: int
    seconds: float | None
    stages: tuple[StageCost, ...]
    drawing: str = ""


@dataclass(frozen=True)
class RunPlan:
    """The verdict on every candidate, the tasks, the differences that they can show, and the cost.

    recall: what the run would recall of earlier cycles; None for nothing. outlook: what the budget is likely to reach.
    visible_if: the assumption behind those differences. guards: what the items can show of each guard. warnings: what
    makes a run unlikely to publish anything, or may not be meant. refusal: why a run would be refused, for want of a
    pool, of items, of a chat template or of data, a line for each task without data; None if it would not. Without the
    data of all tasks the plan has no tasks and no cost.
    """

    watchlist: str
    verdicts: tuple[Verdict, ...]
    licence: str | None
    tasks: tuple[TaskPlan, ...]
    visible: tuple[DetectableEffect, ...]
    visible_if: str
    guards: tuple[GuardPower, ...]
    warnings: tuple[str, ...]
    cost: RunCost | None
    refusal: str | None
    recall: RecallPlan | None = None
    outlook: BudgetOutlook | None = None

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


MeasureSpeed = Callable[[Hub, Pool, SearchStrategy, Resources, TaskSuite, Sequence[JudgeModel]], Speed | None]
"""Measures the time of a candidate on this machine; None where it cannot be measured."""


def make_plan(
    hub: Hub,
    watchlist: Watchlist,
    now: datetime,
    on_progress: Callable[[str], None] = lambda _: None,
    measure: MeasureSpeed = measure_speed,
    ledger: Ledger | None = None,
) -> RunPlan:
    """Check everything that a run checks before it downloads weights, and estimate what it costs.

    on_progress: called with a few words on the current step. ledger: that of the run's home, where there is one.

    Raises:
        ShoalError, EvaluationError, MergingError: the Hub, a task or the search space cannot be used.
    """
    suite, no_data = _load_suite(watchlist)
    judges = find_judges(hub, watchlist)
    facts = suite.describe() if suite else ()
    refusal = refuse_counts(watchlist, facts) if suite else None
    cost, recalled, warnings = None, None, []
    try:
        family = find_family(hub, watchlist, now, on_progress)
        pool = take_first(hub, watchlist, family)
        entrants = invite_to_audition(watchlist, family) if needs_audition(watchlist, family) else pool
    except NoPool as error:
        verdicts, licence = error.verdicts, None
        refusal = refusal or str(error)
    else:
        verdicts, licence = entrants.verdicts, pool.licence.id
        warnings += describe_templates(watchlist, pool)
        no_template = find_missing_template(watchlist, pool)
        refusal = refusal or refuse_references(watchlist.evaluation_guards, pool) or no_template
        if suite and no_template is None:
            on_progress("measuring the speed of this machine")
            cost = estimate_cost(hub, watchlist, pool, entrants, suite, measure, judges)
            # Before an audition nobody knows the sources.
            recalled = plan_recall(watchlist, pool, ledger) if ledger and entrants is pool else None
    baselines = cost.baselines if cost else watchlist.max_sources + 1  # with a base
    visible = detectable_effects(watchlist, facts, baselines, front=watchlist.search.population) if suite else ()
    if suite and (hopeless := describe_hopelessness(visible)):
        warnings.append(hopeless)
    if cost and (slow := describe_slow_dtype(watchlist.search.dtype, cost.device)):
        warnings.append(slow)
    return RunPlan(
        watchlist=watchlist.name,
        verdicts=verdicts,
        licence=licence,
        tasks=tuple(map(_task_plan, facts)),
        visible=visible,
        visible_if=ASSUMPTION,
        guards=guard_powers(watchlist, facts) if suite else (),
        warnings=tuple(warnings),
        cost=cost,
        refusal="\n".join(filter(None, (refusal, no_data))) or None,
        recall=recalled,
        outlook=make_outlook(watchlist, facts, ledger) if suite else None,
    )


def _load_suite(watchlist: Watchlist) -> tuple[TaskSuite | None, str | None]:
    """The tasks; or None, and a line for each task whose data cannot be had here."""
    skills, sizes, seed = watchlist.asked_skills, watchlist.split_sizes, watchlist.search.seed
    try:
        return SUITES[watchlist.kind](skills, watchlist.task_paths, sizes, seed), None
    except TaskDataError as error:
        return None, str(error)


def estimate_cost(
    hub: Hub,
    watchlist: Watchlist,
    pool: Pool,
    entrants: Family,
    suite: TaskSuite,
    measure: MeasureSpeed,
    judges: Sequence[JudgeModel] = (),
) -> RunCost:
    """The cost of a run over a pool on this machine.

    entrants: the family that auditions for a place in it; the pool itself without an audition. judges: the models that
    judge the tasks.
    """
    strategy = make_strategy(watchlist, pool)
    resources, needed = fit_resources(watchlist, strategy, pool)
    largest = strategy.largest_bytes(pool, watchlist.search.dtype)
    baselines = len(list_baselines(strategy, pool))
    items = Counter[Split]()
    for task in suite.describe():
        items.update(task.items)
    audition = None
    if watchlist.audition is not None and entrants is not pool:
        share = watchlist.audition.share
        asked = sum(math.ceil(share * task.items[Split.SEARCH]) for task in suite.describe())
        audition = AuditionWork(len(entrants.members), asked)
    speed = measure(hub, pool, strategy, resources, suite, judges)
    work = list_stages(watchlist, items, baselines, audition, staged=strategy.staged)
    stages = cost_stages(work, resources.workers, speed)
    download = entrants.download_bytes + sum(judge.download_bytes for judge in judges)
    return RunCost(
        auditioned=0 if entrants is pool else len(entrants.sources) - len(entrants.pinned),
        places=watchlist.max_sources - len(entrants.pinned),
        download=download,
        disk=download
        + sum(member.difference_bytes for member in entrants.read_models)
        + max(entrants.conversion_bytes, watchlist.publish.max_releases * largest),
        memory=run_memory(resources.workers + bool(pool.vocabulary and pool.vocabulary.parted), needed),
        workers=resources.workers,
        threads=resources.threads,
        device=resources.device,
        largest=largest,
        layers=strategy.most_layers,
        left_out=tuple(source.name for source in strategy.left_out),
        genes=strategy.gene_count,
        space_log10=round(math.log10(strategy.size), 1),
        candidates=watchlist.search.budget.candidates,
        surrogate=watchlist.search.surrogate,
        baselines=baselines,
        item_scores=sum(stage.item_scores for stage in stages),
        seconds=_sum_known(stage.seconds for stage in stages),
        stages=stages,
        drawing=watchlist.search.drawing,
    )


def plan_recall(watchlist: Watchlist, pool: Pool, ledger: Ledger) -> RecallPlan | None:
    """What a run over a pool would recall of the watchlist's earlier cycles; None for nothing."""
    if not watchlist.search.warm_start:
        return None
    strategy, cycles = make_strategy(watchlist, pool), ledger.cycles(watchlist.name)
    earlier = tuple(one for one in cycles if not (one.state in RESUMED and one.digest == watchlist.digest))
    return Recall(ledger, earlier, watchlist, strategy, todays_models(pool, strategy)).plan()


def _sum_known(values: Iterable[float | None]) -> float | None:
    """The sum; None where a value is not known."""
    listed = list(values)
    known = [value for value in listed if value is not None]
    return math.fsum(known) if len(known) == len(listed) else None


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

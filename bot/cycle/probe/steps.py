"""Measures models that draw in steps, and that have no fewer layers than they have: pipelines.

A pipeline of the pool's settings with random weights is rewritten, and draws a sample of the items in one step and in a
few. Time grows linearly with the steps, so two numbers give the time of any.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bot.cycle.probe.timing import (
    LinearTime,
    MeasuredSpeed,
    item_seconds,
    measure_seconds,
    thread_limit,
    write_small_files,
)
from bot.hub.client import Hub
from bot.hub.pool.pool import Pool, merged_headers
from bot.scoring.resources import Resources, inspect_machine
from bot.search.strategies.strategy import SearchStrategy
from evaluation.splits import Split
from evaluation.suites import TaskSuite
from merging.kinds import KINDS
from merging.recipes.weight_merge import WeightMerge

if TYPE_CHECKING:
    from merging.identity import ModelId
    from merging.kinds.kind import LiveCandidates
    from merging.sources.weights import Weights

STEPS = (1, 3)
"""The numbers of steps that are measured."""


def measure_steps(
    hub: Hub, pool: Pool, strategy: SearchStrategy, resources: Resources, suite: TaskSuite
) -> MeasuredSpeed | None:
    """As `measure_speed`. Judges are not asked: they are fetched later."""
    plain = strategy.weight_merges.plain_recipes()[-1][1].parts[0]
    kept = dict.fromkeys((one.name for one in plain.groups.components[1:]), pool.carrier)
    recipe = replace(plain, groups=plain.groups.taking(kept), last_stage=None)
    kind, machine = KINDS[pool.kind], inspect_machine(resources.device)
    with tempfile.TemporaryDirectory(prefix="shoal-") as place, thread_limit(resources.threads):
        folder, written = Path(place), pool.model_bytes(recipe.dtype)
        if 2 * written + pool.weight_bytes > machine.free_memory or written > shutil.disk_usage(folder).free:
            return None
        from merging.writing.random_pipeline import write_random_weights

        write_small_files(hub, pool, folder)
        write_random_weights(folder, recipe.dtype)
        weights = _random_sources(pool, folder) | ({pool.carrier: kind.open(folder)} if pool.carrier else {})
        live = kind.live(folder, weights, dtype=recipe.dtype, device=resources.device, carrier=pool.carrier)
        build = _build_seconds(live, recipe)
        processor = kind.load_processor(folder)
        model = suite.wrap(live.model, processor, resources.device, resources.batch_size)
        item = {}
        for split in (Split.SEARCH, Split.VALIDATION):
            whole = suite.build(split, processor, ())
            times = {short.steps: item_seconds(short, model) for short in map(whole.shortened, STEPS)}
            item[split] = LinearTime.through(times).at(whole.steps)
    return MeasuredSpeed(build, item | {Split.REPORT: item[Split.VALIDATION]})


def _random_sources(pool: Pool, folder: Path) -> dict[ModelId, Weights]:
    from merging.sources.random_weights import RandomWeights

    return {
        member.ref: RandomWeights(folder, merged_headers(pool, member), seed)
        for seed, member in enumerate(pool.members)
    }


def _build_seconds(live: LiveCandidates, recipe: WeightMerge) -> float:
    """Seconds in which every weight that candidates merge is rewritten; leaves the merge in the model."""
    other = WeightMerge.single(recipe.sources[-1], recipe.groups, recipe.dtype, carrier=recipe.carrier)
    return measure_seconds(lambda: recipe.live_model(live), before=lambda: other.live_model(live))

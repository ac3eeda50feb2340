"""Models of a pool's settings with random weights, for measuring and trying before any real weights are there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bot.cycle.probe.timing import thread_limit, write_small_files
from bot.hub.client import Hub
from bot.hub.judges import JudgeModel
from bot.hub.pool.pool import Pool, merged_headers
from bot.scoring.resources import Resources, inspect_machine
from bot.search.strategies.strategy import SearchStrategy
from evaluation.suites import TaskSuite, WrappedModel
from merging.kinds import KINDS
from merging.recipes.weight_merge import WeightMerge

if TYPE_CHECKING:
    from evaluation.pictures.judges.judge import JudgeRepo
    from merging.identity import ModelId
    from merging.kinds.kind import LiveCandidates
    from merging.sources.weights import Weights

_IN_FLOAT32 = 3
"""Bytes that a judge needs in memory, at most, for each byte of its files: it is written, then loaded in float32."""


@dataclass(frozen=True)
class RandomPipeline:
    """A live pipeline. recipe: a merge of all its sources. model: it, ready to be asked by the suite."""

    live: LiveCandidates
    recipe: WeightMerge
    processor: object
    model: WrappedModel


@contextmanager
def random_pipeline(
    hub: Hub, pool: Pool, strategy: SearchStrategy, resources: Resources, suite: TaskSuite
) -> Iterator[RandomPipeline | None]:
    """A pipeline of a pool's settings, in as many threads as a worker has; None where there is too little room."""
    plain = strategy.weight_merges.plain_recipes()[-1][1].parts[0]
    kept = dict.fromkeys((one.name for one in plain.groups.components[1:]), pool.carrier)
    recipe = replace(plain, groups=plain.groups.taking(kept), last_stage=None)
    kind, written = KINDS[pool.kind], pool.model_bytes(recipe.dtype)
    with tempfile.TemporaryDirectory(prefix="shoal-") as place, thread_limit(resources.threads):
        folder = Path(place)
        if not _has_room(2 * written + pool.weight_bytes, written, folder, resources):
            yield None
            return
        from merging.writing.random_files import write_random_pipeline

        write_small_files(hub, pool, folder)
        write_random_pipeline(folder, recipe.dtype)
        weights = _random_sources(pool, folder) | ({pool.carrier: kind.open(folder)} if pool.carrier else {})
        live = kind.live(folder, weights, dtype=recipe.dtype, device=resources.device, carrier=pool.carrier)
        processor = kind.load_processor(folder)
        recipe.live_model(live)
        yield RandomPipeline(
            live, recipe, processor, suite.wrap(live.model, processor, resources.device, resources.batch_size)
        )


@contextmanager
def random_judges(
    hub: Hub, judges: Sequence[JudgeModel], resources: Resources
) -> Iterator[Mapping[JudgeRepo, Path] | None]:
    """Folders of models like those that judge; None where there is too little room."""
    size = sum(judge.weights.weight_bytes for judge in judges)
    with tempfile.TemporaryDirectory(prefix="shoal-") as place, thread_limit(resources.threads):
        if not _has_room(_IN_FLOAT32 * size, size, Path(place), resources):
            yield None
            return
        yield {judge.repo: _write_judge(hub, judge, Path(place, str(number))) for number, judge in enumerate(judges)}


def _write_judge(hub: Hub, judge: JudgeModel, folder: Path) -> Path:
    from merging.writing.random_files import write_random_model

    weights = judge.weights
    for file in weights.candidate.wanted_files:
        if file not in weights.candidate.weight_files and not file.path.endswith(".index.json"):
            (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
            (folder / file.path).write_bytes(hub.read(weights.repo, weights.sha, file.path))
    write_random_model(folder, weights.headers)
    return folder


def _has_room(memory: int, disk: int, folder: Path, resources: Resources) -> bool:
    return memory <= inspect_machine(resources.device).free_memory and disk <= shutil.disk_usage(folder).free


def _random_sources(pool: Pool, folder: Path) -> dict[ModelId, Weights]:
    from merging.sources.random_weights import RandomWeights

    return {
        member.ref: RandomWeights(folder, merged_headers(pool, member), seed)
        for seed, member in enumerate(pool.members)
    }

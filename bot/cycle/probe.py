"""Measures how fast one worker of this machine is with a pool's models, before any of their weights are there.

Random models of the pool's config with one layer of each make and with a few more are rewritten, and answer a sample of
the items. Time grows linearly with the layers, so two depths give the time at any depth, and even a large model takes
seconds.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bot.hub.client import Hub
from bot.hub.inspection.member import Member
from bot.hub.pool.pool import Pool, merged_headers
from bot.hub.resolver import ModelFiles
from bot.scoring.resources import Resources, inspect_machine
from bot.search.strategies.strategy import SearchStrategy
from evaluation.splits import Split
from evaluation.suites import TaskSuite
from merging.dtypes import element_bytes
from merging.recipes.weight_merge import WeightMerge
from merging.sources.family import TensorHeader
from merging.tensor_names import parse_name, renumber
from merging.tokenizers.source_tokenizer import CONFIG

if TYPE_CHECKING:
    from evaluation.eval_set import EvalSet
    from evaluation.suites import WrappedModel
    from merging.models.live import LiveModels

MORE_LAYERS = 2
"""Layers by which two depths differ: enough to show a layer's time, and few enough for any machine."""

SAMPLE_ITEMS = 8
"""Item scores of the smallest sample, about. Larger ones follow, up to the whole set, until LONG_ENOUGH is reached."""

LONG_ENOUGH = 0.5
"""Seconds from which a measurement counts: a shorter one is mostly noise."""

REPEATED_BELOW = 5.0
"""Seconds below which it is taken twice, the shorter one counting: the first use of code takes longer."""


@dataclass(frozen=True)
class LinearTime:
    """Seconds that grow linearly with the number of layers."""

    first: float
    per_layer: float

    @classmethod
    def through(cls, seconds: Mapping[int, float]) -> LinearTime:
        """The line through the times at two depths, or at the only one that a model has."""
        (low, shallow), (high, deep) = min(seconds.items()), max(seconds.items())
        per_layer = max(0.0, deep - shallow) / (high - low) if high > low else 0.0
        return cls(shallow - low * per_layer, per_layer)

    def at(self, layers: int) -> float:
        """Seconds at a depth."""
        return self.first + layers * self.per_layer


@dataclass(frozen=True)
class MeasuredSpeed:
    """The speed of a worker, for the deepest candidates of a search.

    build: seconds to rewrite the live model. item: seconds of one item score, by split.
    """

    build: float
    item: Mapping[Split, float]

    def candidate_seconds(self, split: Split, items: int) -> float:
        """Seconds to build a candidate and to take this many item scores of it."""
        return self.build + items * self.item[split]


def measure_speed(
    hub: Hub, pool: Pool, strategy: SearchStrategy, resources: Resources, suite: TaskSuite
) -> MeasuredSpeed | None:
    """Measure the time of a candidate; None where even a few layers need too much of the free memory.

    Fetches small files of the config source, and keeps nothing. Generated answers count with their full length, since
    a random model does not know where to stop. The report split is taken to be like the validation split.

    Raises MergingError or EvaluationError for a model or task with which a run would fail too.
    """
    recipe = strategy.weight_merges.plain_recipes()[-1][1]
    inside, _ = pool.prototype.divide(pool.prototype.headers)
    depths = choose_depths({name: header.shape for name, header in inside.items()}, pool.layers)
    if _probe_bytes(pool, depths[-1], recipe.dtype) > inspect_machine(resources.device).free_memory:
        return None
    config_source = pool.leader.remotes[0]
    with tempfile.TemporaryDirectory(prefix="shoal-") as folder, _thread_limit(resources.threads):
        for name, content in ModelFiles(config_source.ref, config_source).read_small_files(hub).items():
            (Path(folder) / name).write_bytes(content)
        probe = _Probe(Path(folder), pool, recipe, resources, suite)
        times = {depth: probe.measure(depth) for depth in depths}
    layers = strategy.most_layers
    build = LinearTime.through({depth: time.build for depth, time in times.items()}).at(layers)
    item = {
        split: LinearTime.through({depth: time.item[split] for depth, time in times.items()}).at(layers)
        for split in times[depths[0]].item
    }
    return MeasuredSpeed(build, item | {Split.REPORT: item[Split.VALIDATION]})


def choose_depths(shapes: Mapping[str, tuple[int, ...]], layers: int) -> list[int]:
    """The depths to measure: the least that has a layer of each make, and one of a few more layers, if there are any.

    A mixture of experts may begin with dense layers, and a hybrid with layers that cannot run without attention.
    shapes: of a model's tensors, by name. layers: its depth.
    """
    makes: dict[int, set[tuple[str, tuple[int, ...]]]] = defaultdict(set)
    for name, shape in shapes.items():
        if (layer := parse_name(name).layer) is not None:
            makes[layer].add((renumber(name, 0), shape))
    firsts: dict[frozenset[tuple[str, tuple[int, ...]]], int] = {}
    for layer in range(layers):
        firsts.setdefault(frozenset(makes[layer]), layer)
    least = max(firsts.values(), default=0) + 1
    return sorted({least, min(least + MORE_LAYERS, layers)})


class _Probe:
    """Models of a few depths that answer the same samples."""

    def __init__(self, folder: Path, pool: Pool, recipe: WeightMerge, resources: Resources, suite: TaskSuite) -> None:
        """folder: holds the small files of the config source."""
        from merging.kinds import KINDS
        from merging.kinds.picture_size import with_picture_size
        from merging.sources.json_object import read_json_object

        self._folder, self._pool, self._recipe = folder, pool, recipe
        self._resources, self._suite = resources, suite
        self._config = read_json_object(folder / CONFIG)
        with with_picture_size(folder, pool.picture_size) as settings:
            self._processor = KINDS[pool.kind].load_processor(settings)
        self._eval_sets = {split: suite.build(split, self._processor, ()) for split in (Split.SEARCH, Split.VALIDATION)}

    def measure(self, depth: int) -> MeasuredSpeed:
        """The speed with models of this depth."""
        models = self._make_models(depth)
        recipe = self._recipe
        alone = WeightMerge.single(recipe.sources[0], recipe.groups, recipe.dtype, carrier=recipe.carrier)

        def rewrite() -> None:
            self._recipe.live_model(models)

        def undo() -> None:
            alone.live_model(models)

        build = _measure_seconds(rewrite, before=undo)
        resources = self._resources
        model = self._suite.wrap(models.model, self._processor, resources.device, resources.batch_size)
        return MeasuredSpeed(
            build, {split: _item_seconds(eval_set, model) for split, eval_set in self._eval_sets.items()}
        )

    def _make_models(self, depth: int) -> LiveModels:
        from merging.models.layer_config import stack_config
        from merging.models.live import LiveModels
        from merging.sources.random_weights import RandomWeights

        config = stack_config(self._config, [[(self._config, layer)] for layer in range(depth)], CONFIG)
        rows = self._pool.vocabulary.rows if self._pool.vocabulary else None
        config |= {} if rows is None else {"vocab_size": rows}
        (self._folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
        weights = {
            member.ref: RandomWeights(self._folder, _first_layers(self._pool, member, depth), seed)
            for seed, member in enumerate(self._pool.members)
        }
        device, carrier = self._resources.device, self._recipe.carrier
        return LiveModels(self._folder, weights, dtype=self._recipe.dtype, device=device, carrier=carrier)


def _first_layers(pool: Pool, member: Member, depth: int) -> dict[str, TensorHeader]:
    """A member's headers as merges have them, with the first layers of its language model."""
    return _shallow(pool, merged_headers(pool, member), depth)


def _shallow(pool: Pool, headers: Mapping[str, TensorHeader], depth: int) -> dict[str, TensorHeader]:
    inside, beside = pool.prototype.divide(headers)
    return beside | {name: header for name, header in inside.items() if (parse_name(name).layer or 0) < depth}


def _item_seconds(eval_set: EvalSet[WrappedModel], model: WrappedModel) -> float:
    """Seconds of one item score, by a part of the set that has its share of every task."""
    most = max(1, math.ceil(math.log2(len(eval_set.items) / SAMPLE_ITEMS)) + 1)
    sample, seconds = eval_set, 0.0
    for halvings in range(most - 1, -1, -1):
        sample = eval_set.sample(0.5**halvings)
        seconds = _measure_seconds(partial(sample.score, model))
        if seconds >= LONG_ENOUGH:
            break
    return seconds / len(sample.items)


def _measure_seconds(work: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    """The time of some work; `before` is not counted."""
    measured: list[float] = []
    while not measured or (len(measured) < 2 and measured[0] < REPEATED_BELOW):
        before()
        started = time.perf_counter()
        work()
        measured.append(time.perf_counter() - started)
    return min(measured)


def _probe_bytes(pool: Pool, layers: int, dtype: str) -> int:
    """Bytes of the live model, of all members' random weights, and as much again for what scoring needs."""
    kept = _shallow(pool, pool.merged_headers, layers)
    values = sum(math.prod(header.shape) for header in kept.values())
    return 2 * values * (element_bytes(dtype) + 4 * len(pool.members))


@contextmanager
def _thread_limit(threads: int) -> Iterator[None]:
    """Use as many threads as a worker has."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)

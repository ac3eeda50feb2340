"""Measures models by fewer layers than they have.

Random models of the pool's config with one layer of each make and with a few more are rewritten, and answer a sample of
the items. Time grows linearly with the layers, so two depths give the time at any depth, and even a large model takes
seconds.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
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
from bot.hub.inspection.member import Member
from bot.hub.judges import JudgeModel
from bot.hub.pool.pool import Pool, merged_headers
from bot.scoring.resources import Resources, inspect_machine
from bot.search.strategies.strategy import SearchStrategy
from evaluation.splits import Split
from evaluation.suites import TaskSuite
from merging.dtypes import element_bytes
from merging.kinds import KINDS
from merging.recipes.weight_merge import WeightMerge
from merging.sources.family import TensorHeader
from merging.tensor_names import parse_name, renumber
from merging.tokenizers.source_tokenizer import CONFIG

if TYPE_CHECKING:
    from merging.models.live import LiveModels

MORE_LAYERS = 2
"""Layers by which two depths differ: enough to show a layer's time, and few enough for any machine."""


def measure_layers(
    hub: Hub,
    pool: Pool,
    strategy: SearchStrategy,
    resources: Resources,
    suite: TaskSuite,
    judges: Sequence[JudgeModel],  # noqa: ARG001 - answers in words are judged without models
) -> MeasuredSpeed | None:
    """As `measure_speed`: None where even a few layers need too much of the free memory.

    Generated answers count with their full length, since a random model does not know where to stop.
    """
    recipe = strategy.weight_merges.plain_recipes()[-1][1]
    inside, _ = pool.prototype.divide(pool.prototype.headers)
    depths = choose_depths({name: header.shape for name, header in inside.items()}, pool.layers)
    if _probe_bytes(pool, depths[-1], recipe.dtype) > inspect_machine(resources.device).free_memory:
        return None
    with tempfile.TemporaryDirectory(prefix="shoal-") as folder, thread_limit(resources.threads):
        write_small_files(hub, pool, Path(folder))
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

        build = measure_seconds(rewrite, before=undo)
        resources = self._resources
        model = self._suite.wrap(models.model, self._processor, resources.device, resources.batch_size)
        return MeasuredSpeed(
            build,
            {
                split: item_seconds(eval_set, lambda sample: sample.score(model))
                for split, eval_set in self._eval_sets.items()
            },
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


def _probe_bytes(pool: Pool, layers: int, dtype: str) -> int:
    """Bytes of the live model, of all members' random weights, and as much again for what scoring needs."""
    kept = _shallow(pool, pool.merged_headers, layers)
    values = sum(math.prod(header.shape) for header in kept.values())
    return 2 * values * (element_bytes(dtype) + 4 * len(pool.members))

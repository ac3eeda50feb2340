"""What a probe measures: seconds of a candidate and of an item score, on a line through two sizes of a task."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bot.hub.client import Hub
from bot.hub.pool.pool import Pool
from bot.hub.resolver import ModelFiles
from evaluation.splits import Split

if TYPE_CHECKING:
    from evaluation.eval_set import EvalSet
    from evaluation.suites import WrappedModel

SAMPLE_ITEMS = 8
"""Item scores of the smallest sample, about. Larger ones follow, up to the whole set, until LONG_ENOUGH is reached."""

LONG_ENOUGH = 0.5
"""Seconds from which a measurement counts: a shorter one is mostly noise."""

REPEATED_BELOW = 5.0
"""Seconds below which it is taken twice, the shorter one counting: the first use of code takes longer."""


@dataclass(frozen=True)
class LinearTime:
    """Seconds that grow linearly with a number, of layers or of steps."""

    first: float
    per_layer: float

    @classmethod
    def through(cls, seconds: Mapping[float, float]) -> LinearTime:
        """The line through the times at two numbers, or at the only one that there is."""
        (low, shallow), (high, deep) = min(seconds.items()), max(seconds.items())
        per_layer = max(0.0, deep - shallow) / (high - low) if high > low else 0.0
        return cls(shallow - low * per_layer, per_layer)

    def at(self, number: float) -> float:
        """Seconds at a number."""
        return self.first + number * self.per_layer


@dataclass(frozen=True)
class MeasuredSpeed:
    """The speed of a worker, for the deepest candidates of a search.

    build: seconds to rewrite the live model. item: seconds of one item score, by split. searched: of a candidate, where
    they differ in what the search varies of the drawing, in the mean; None where they do not.
    """

    build: float
    item: Mapping[Split, float]
    searched: Mapping[Split, float] | None = None

    def model_seconds(self, split: Split, items: int, *, is_candidate: bool) -> float:
        """Seconds to build a model and to take this many item scores of it."""
        item = self.searched if is_candidate and self.searched is not None else self.item
        return self.build + items * item[split]


def write_small_files(hub: Hub, pool: Pool, folder: Path) -> None:
    """Fetch the small files of a pool's config source into a folder."""
    config_source = pool.leader.remotes[0]
    for name, content in ModelFiles(config_source.ref, config_source).read_small_files(hub).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


def item_seconds(eval_set: EvalSet[WrappedModel], work: Callable[[EvalSet[WrappedModel]], object]) -> float:
    """Seconds of some work for one item, by a part of the set that has its share of every task."""
    most = max(1, math.ceil(math.log2(len(eval_set.items) / SAMPLE_ITEMS)) + 1)
    sample, seconds = eval_set, 0.0
    for halvings in range(most - 1, -1, -1):
        sample = eval_set.sample(0.5**halvings)
        seconds = measure_seconds(partial(work, sample))
        if seconds >= LONG_ENOUGH:
            break
    return seconds / len(sample.items)


def measure_seconds(work: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    """The time of some work; `before` is not counted."""
    measured: list[float] = []
    while not measured or (len(measured) < 2 and measured[0] < REPEATED_BELOW):
        before()
        started = time.perf_counter()
        work()
        measured.append(time.perf_counter() - started)
    return min(measured)


@contextmanager
def thread_limit(threads: int) -> Iterator[None]:
    """Use as many threads as a worker has."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""The zoos whose merges are searched: the demo's, a deeper one, and four specialists in each other's way.

All but the demo's are trained once, from a seed, into a folder that git ignores.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import yaml

from benchmarks.landscapes.rivals import SKILLS, train_rivals
from benchmarks.zoo_bench import demo_watchlist
from bot.demo import WATCHLIST
from bot.scoring.resources import Resources
from bot.scoring.worker import Worker
from bot.scoring.worker_spec import WorkerSpec
from bot.watchlist.load import load_watchlist
from bot.watchlist.sections import ROUNDS, GroupsSection
from bot.watchlist.watchlist import Watchlist
from evaluation.eval_set import EvalSetFacts
from evaluation.harness.process_state import quiet
from evaluation.splits import Split
from merging.identity import ModelId
from merging.partition import Partition
from merging.sources.json_object import read_json_object
from merging.spaces.weight_merges import WeightMergeSpace
from zoo.repo import WEIGHTS
from zoo.train import train_zoo, write

FOLDER = Path(__file__).parents[1] / ".cache"
"""Where zoos and scores are kept if nothing else is asked for."""

ITEMS: Mapping[str, Mapping[str, int]] = {
    "demo": {"search": 200, "validation": 1, "report": 400},
    "deep": {"search": 100, "validation": 1, "report": 200},
    "rivals": {"search": 150, "validation": 1, "report": 300},
}
"""Items of a skill in each split; larger models are asked less. What a search has not seen is the report split."""


@dataclass(frozen=True)
class Zoo:
    """Models in folders: `base`, and the sources by name. watchlist: tasks and search, without guards."""

    name: str
    folder: Path
    sources: tuple[str, ...]
    watchlist: Watchlist

    @cached_property
    def models(self) -> Mapping[str, ModelId]:
        """Folder → model, whose commit is a digest of its weights: scores are kept under it."""
        return {name: ModelId(f"{self.name}/{name}", _digest(self.folder / name)) for name in (*self.sources, "base")}

    @property
    def layers(self) -> int:
        """Of each model."""
        layers = read_json_object(self.folder / "base" / "config.json")["num_hidden_layers"]
        assert isinstance(layers, int)
        return layers

    @property
    def spec(self) -> WorkerSpec:
        """What a worker gets to score candidates."""
        checkpoints = {model: self.folder / name for name, model in self.models.items()}
        return WorkerSpec(
            kind="language",
            sources=tuple(checkpoints),
            checkpoints=tuple(checkpoints.items()),
            config_source=self.models[self.sources[0]],
            dtype=self.watchlist.search.dtype,
            skills=self.watchlist.evaluation_skills,
            task_folders=self.watchlist.task_paths,
            sizes=self.watchlist.split_sizes,
            seed=self.watchlist.search.seed,
            resources=Resources(1, 1, "cpu", 64),
        )

    @cached_property
    def search_items(self) -> EvalSetFacts:
        """The items of the search split, and the rounds in which a race asks them."""
        with quiet():
            return Worker(replace(self.spec, rounds=ROUNDS)).facts(Split.SEARCH)

    def space(self, groups: GroupsSection) -> WeightMergeSpace:
        """Merges by the watchlist's method."""
        search = self.watchlist.search
        bands = min(groups.layers, self.layers)
        return WeightMergeSpace.build(
            method=search.method,
            sources=[self.models[name] for name in self.sources],
            base=self.models["base"],
            groups=Partition.even(self.layers, bands, groups.modules == "apart", groups.ends == "apart"),
            dtype=search.dtype,
            seed=0,
            step=search.step,
        )


def open_zoo(name: str, folder: Path = FOLDER) -> Zoo:
    """A zoo by its name, trained now (minutes) if it is not in the folder yet."""
    return ZOOS[name](folder / name)


def _demo(_: Path) -> Zoo:
    return Zoo("demo", WEIGHTS, ("math", "language"), _searched("demo", demo_watchlist()))


def _deep(folder: Path) -> Zoo:
    """The demo's courses, with three times as many layers."""

    def train(into: Path) -> None:
        for name, model in train_zoo(seed=0, layers=6).items():
            write(model, into / name)

    _once(folder, train)
    groups = GroupsSection(layers=3, modules="apart", ends="apart")
    return Zoo("deep", folder, ("math", "language"), _searched("deep", demo_watchlist(), groups))


def _rivals(folder: Path) -> Zoo:
    """Four sources; a gene for every layer's attention, for every layer's rest and for both ends of each."""

    def train(into: Path) -> None:
        train_rivals(into)
        values = yaml.safe_load(WATCHLIST.read_text(encoding="utf-8"))
        skills = [{"name": name, "tasks": [{"task": f"rivals_{name}", "metric": "acc"}]} for name in SKILLS]
        values |= {"name": "rivals", "task_folders": ["tasks"], "skills": skills, "guards": []}
        (into / "watchlist.yml").write_text(yaml.safe_dump(values), encoding="utf-8")

    _once(folder, train)
    groups = GroupsSection(layers=3, modules="apart", ends="apart")
    watchlist = load_watchlist(folder / "watchlist.yml")
    return Zoo("rivals", folder, tuple(SKILLS), _searched("rivals", watchlist, groups))


ZOOS: Mapping[str, Callable[[Path], Zoo]] = {"demo": _demo, "deep": _deep, "rivals": _rivals}


def _searched(name: str, watchlist: Watchlist, groups: GroupsSection | None = None) -> Watchlist:
    """The watchlist with the items of this benchmark, without guards, which no search sees."""
    items = watchlist.items.model_copy(update=ITEMS[name])
    search = watchlist.search.model_copy(update={} if groups is None else {"groups": groups})
    return watchlist.model_copy(update={"items": items, "guards": (), "search": search})


def _once(folder: Path, train: Callable[[Path], None]) -> None:
    """Have a folder filled if it is not there: whole or not at all, whoever else does the same at the same time."""
    if folder.is_dir():
        return
    made = folder.with_name(f"{folder.name}.{os.getpid()}")
    made.mkdir(parents=True)
    try:
        train(made)
        if not folder.is_dir():
            made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:40]

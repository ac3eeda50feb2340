"""What all benchmarks here stand on: the demo's models, tasks and search space, with a crew to choose.

A zoo is a folder of `base`, `math` and `language`, as `zoo.train` writes it: by default the one of the demo, which the
project ships.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bot.demo import WATCHLIST
from bot.scoring.resources import Resources
from bot.scoring.worker import Worker
from bot.scoring.worker_spec import WorkerSpec
from bot.watchlist.load import load_watchlist
from bot.watchlist.watchlist import Watchlist
from evaluation.splits import Split
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.weight_merges import WeightMergeSpace
from zoo.repo import BASE, LANGUAGE, MATH, MODELS, WEIGHTS

Scores = NDArray[np.float64]


def demo_watchlist() -> Watchlist:
    """The watchlist of `shoal demo`."""
    return load_watchlist(WATCHLIST)


def checkpoints(zoo: Path = WEIGHTS) -> dict[ModelId, Path]:
    """The three models of a zoo, under the demo's names."""
    return {ModelId(repo, "0" * 40): zoo / folder.name for repo, folder in MODELS.items()}


def depth(zoo: Path = WEIGHTS) -> int:
    """Layers of a zoo's models."""
    config = json.loads((zoo / MODELS[MATH].name / "config.json").read_text("utf-8"))
    return int(config["num_hidden_layers"])


def spec(resources: Resources, zoo: Path = WEIGHTS) -> WorkerSpec:
    """The demo's bench for a crew."""
    watchlist = demo_watchlist()
    return WorkerSpec(
        kind="language",
        sources=tuple(checkpoints(zoo)),
        checkpoints=tuple(checkpoints(zoo).items()),
        config_source=ModelId(MATH, "0" * 40),
        dtype=watchlist.search.dtype,
        skills=watchlist.evaluation_skills,
        task_folders=watchlist.task_paths,
        sizes=watchlist.split_sizes,
        seed=watchlist.search.seed,
        resources=resources,
    )


def in_process_scores() -> tuple[Callable[[WeightMerge], NDArray[Any]], NDArray[Any]]:
    """A function from a recipe to its scores on all items of the search split, kept; and each item's task."""
    examined = Examined(Worker(spec(Resources(1, 1, "cpu", 64))))
    keys = [item.task for item in examined.at_work.facts(Split.SEARCH).items]
    return lambda recipe: examined(recipe, Split.SEARCH), np.unique(keys, return_inverse=True)[1]


class Examined:
    """Scores of recipes on all items of a split, in this process; each is computed once."""

    def __init__(self, at_work: Worker) -> None:
        torch.set_num_threads(1)  # the models are tiny: on a busy machine a second thread would spin more than it works
        self.at_work = at_work
        self._known: dict[tuple[str, Split], Scores] = {}

    def __call__(self, recipe: Recipe, split: Split) -> Scores:
        """In the order of the exam's items."""
        key = recipe.digest, split
        if key not in self._known:
            self._known[key] = np.array([score.value for score in self.at_work.evaluate(recipe, split).scores])
        return self._known[key]


def demo_space(zoo: Path = WEIGHTS, sources: Sequence[ModelId] | None = None) -> WeightMergeSpace:
    """The demo's search space, over other sources than its two specialists if they are given."""
    search = demo_watchlist().search
    return WeightMergeSpace.build(
        method=search.method,
        sources=sources or [ModelId(MATH, "0" * 40), ModelId(LANGUAGE, "0" * 40)],
        base=ModelId(BASE, "0" * 40),
        groups=Partition.even(depth(zoo), search.groups.layers, modules_apart=True, ends_apart=True),
        dtype=search.dtype,
        seed=0,
        step=search.step,
    )


def random_recipes(count: int, seed: int, zoo: Path = WEIGHTS) -> list[WeightMerge]:
    """Recipes from the demo's search space, none alike."""
    space, draw = demo_space(zoo), random.Random(seed)
    return [space.decode([draw.randrange(gene.levels) for gene in space.genes]) for _ in range(count)]

"""What all benchmarks here stand on: the demo's models, tasks and search space, with a crew to choose."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.contest.search import wanted_skills
from bot.demo import WATCHLIST
from bot.scoring.bench import Bench, BenchAtWork
from bot.scoring.machine import Crew
from bot.watchlist.model import Watchlist, load
from evaluation.splits import Split, SplitSizes
from merging.recipe import Groups, Recipe, SourceRef
from merging.space import SearchSpace
from zoo.repo import BASE, LANGUAGE, MATH, MODELS

LAYERS = 2
"""Of the zoo's models."""


def demo_watchlist() -> Watchlist:
    """The watchlist of `shoal demo`."""
    return load(WATCHLIST)


def checkpoints() -> dict[SourceRef, Path]:
    """The zoo's three models where the project ships them."""
    return {SourceRef(repo, "0" * 40): folder for repo, folder in MODELS.items()}


def bench(crew: Crew) -> Bench:
    """The demo's bench for a crew."""
    watchlist = demo_watchlist()
    items = watchlist.items
    return Bench(
        checkpoints=tuple(checkpoints().items()),
        skeleton=SourceRef(MATH, "0" * 40),
        dtype=watchlist.search.dtype,
        skills=wanted_skills(watchlist),
        task_folders=tuple(Path(folder) for folder in watchlist.task_folders),
        sizes=SplitSizes(items.search, items.validation, items.report),
        seed=watchlist.search.seed,
        crew=crew,
    )


def in_process_scores() -> tuple[Callable[[Recipe], NDArray[Any]], NDArray[Any]]:
    """A function from a recipe to its scores on all items of the search split, kept; and each item's task."""
    at_work = BenchAtWork(bench(Crew(1, 1, "cpu", 64)))
    keys = [item.task for item in at_work.facts(Split.SEARCH).items]
    known: dict[str, NDArray[Any]] = {}

    def answers(recipe: Recipe) -> NDArray[Any]:
        if recipe.digest not in known:
            known[recipe.digest] = np.array([value for value, _ in at_work.score(recipe, Split.SEARCH).values])
        return known[recipe.digest]

    return answers, np.unique(keys, return_inverse=True)[1]


def demo_space() -> SearchSpace:
    """The demo's search space."""
    search = demo_watchlist().search
    return SearchSpace.build(
        method=search.method,
        sources=[SourceRef(MATH, "0" * 40), SourceRef(LANGUAGE, "0" * 40)],
        base=SourceRef(BASE, "0" * 40),
        groups=Groups.even(LAYERS, search.groups.layers, modules_apart=True, ends_apart=True),
        dtype=search.dtype,
        seed=0,
        step=search.step,
    )


def random_recipes(count: int, seed: int) -> list[Recipe]:
    """Recipes from the demo's search space, none alike."""
    space, draw = demo_space(), random.Random(seed)
    return [space.decode([draw.randrange(gene.levels) for gene in space.genes]) for _ in range(count)]

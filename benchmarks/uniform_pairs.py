"""What benchmarks of demos share: a demo's releases beside the best merge with one weight for each of two sources.

A uniform pair is the merge that anyone tries by hand: one weight for each of the two sources, the same in every layer.
The pair that is best at the cross skill on the search split is scored on the report split, item by item beside each
release.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.demo import measured_in, timed_demo
from benchmarks.record import Figures
from benchmarks.zoo_bench import Examined, Scores
from bot.cycle.past.rebuild import kept_pool, stored_recipe
from bot.demo import ZOOS, demo_watchlist
from bot.home import Home
from bot.hub.resolver import source_folder
from bot.ledger.ledger import Ledger
from bot.scoring.resources import Resources
from bot.scoring.worker import Worker
from bot.scoring.worker_spec import WorkerSpec
from bot.watchlist.load import load_watchlist
from bot.watchlist.sections import KindName
from evaluation.splits import Split
from evaluation.statistics.intervals import difference_interval
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge

CROSS = "cross"


def measure_demo(benchmark: str, kind: KindName, steps: Sequence[float]) -> Figures:
    """Run a kind's demo once, score its uniform pairs, and print both.

    steps: the weights of which pairs are made. With --folder, a demo that ran before is read instead of run.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {benchmark}")
    parser.add_argument("--folder", type=Path, help="of a demo that ran before")
    known = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as place:
        folder = known or Path(place) / "demo"
        cycle, seconds = timed_demo(folder, "--kind", kind) if known is None else past_demo(folder, kind)
        search = cycle["search"]
        rate = 60 * search["candidates"] / search["seconds"]
        print(f"{rate:.0f} candidates a minute")
        figures = {"seconds": seconds, "candidates_per_minute": rate} | measured_in(cycle, seconds)
        return figures | compare_with_pairs(Home(folder / "home"), str(cycle["id"]), kind, steps)


def past_demo(folder: Path, kind: KindName) -> tuple[Mapping[str, Any], float]:
    """What `shoal show` prints of a demo's first cycle, and the seconds between its start and its end."""
    cycle = f"{load_watchlist(ZOOS[kind].watchlist).name}-1"
    command = [str(Path(sys.executable).parent / "shoal"), "show", cycle, "--home", str(folder / "home"), "--json"]
    told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return told, (datetime.fromisoformat(told["finished"]) - datetime.fromisoformat(told["started"])).total_seconds()


def compare_with_pairs(home: Home, cycle: str, kind: KindName, steps: Sequence[float]) -> Figures:
    """The best uniform pair, and each release's wins and losses against it and against the mean of both sources."""
    ledger = Ledger(home.ledger)
    worker = Worker(worker_spec(home, ledger, cycle, kind))
    examined, releases = Examined(worker), ledger.releases(cycle)
    recipes = {release.role: stored_recipe(ledger, release.recipe) for release in releases}
    example = next(
        recipe for recipe in recipes.values() if isinstance(recipe, WeightMerge) and len(recipe.sources) == 2
    )
    asked = {
        split: [item.skill == CROSS for item in worker.facts(split).items] for split in (Split.SEARCH, Split.REPORT)
    }

    def cross(recipe: Recipe, split: Split) -> Scores:
        return examined(recipe, split)[asked[split]]

    pairs = [uniform(example, weights) for weights in product(steps, steps) if any(weights)]
    best, mean = max(pairs, key=lambda pair: cross(pair, Split.SEARCH).mean()), uniform(example, (0.5, 0.5))
    weights = {source.name: row[0] for source, row in zip(best.sources, dict(best.parameters)["weight"], strict=True)}
    scores = {role: cross(recipe, Split.REPORT) for role, recipe in recipes.items()}
    return {
        "pair": weights,
        "pair_cross": float(cross(best, Split.REPORT).mean()),
        "pairs": len(pairs),
        "against_pair": compare(f"best uniform pair {weights}", scores, cross(best, Split.REPORT)),
        "against_mean": compare("mean of both", scores, cross(mean, Split.REPORT)),
    }


def compare(rival: str, scores: Mapping[str, Scores], theirs: Scores) -> list[dict[str, Any]]:
    """Each release's wins and losses against a rival, item by item. scores: of each release, by its role."""
    print(f"{rival}: cross {theirs.mean():.3f}")
    rows: list[dict[str, Any]] = []
    for role, ours in scores.items():
        wins, losses = int((ours > theirs).sum()), int((ours < theirs).sum())
        gain = difference_interval(ours, theirs, seed=0, confidence=0.95)
        row = {"release": role, "cross": float(ours.mean()), "wins": wins, "losses": losses}
        rows.append(row | {"gain": [gain.mean, gain.low, gain.high]})
        print(f"{role:20} cross {ours.mean():.3f}  wins {wins}, losses {losses}, gain {gain.mean:+.3f}")
    return rows


def uniform(recipe: WeightMerge, weights: Sequence[float]) -> WeightMerge:
    """A release's recipe with one weight for each source, the same in all groups."""
    rows = tuple((weight,) * len(recipe.groups.labels) for weight in weights)
    return replace(recipe, parameters=(("weight", rows),))


def worker_spec(home: Home, ledger: Ledger, cycle: str, kind: KindName) -> WorkerSpec:
    """What the demo's workers were sent, for one in this process."""
    watchlist, pool = demo_watchlist("parameter", kind), kept_pool(ledger, cycle)
    folders = {member.ref: source_folder(home.sources, member.ref) for member in pool.members}
    return WorkerSpec(
        kind=kind,
        sources=tuple(folders),
        checkpoints=tuple(folders.items()),
        config_source=pool.leader.ref,
        dtype=watchlist.search.dtype,
        skills=watchlist.evaluation_skills,
        task_folders=watchlist.task_paths,
        sizes=watchlist.split_sizes,
        seed=watchlist.search.seed,
        resources=Resources(1, 1, "cpu", 64),
    )

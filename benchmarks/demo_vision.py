"""The demo with pictures from an empty folder: its time, its scores, and paired wins over the best uniform pair.

    python -m benchmarks demo_vision [--folder DIR]

As `demo`, of `shoal demo --kind vision-language`. A uniform pair is the merge that anyone tries by hand: one weight for
each of the two sources, the same in every layer. Of all pairs in steps of a tenth, the one that is best at the cross
skill on the search split is scored on the report split, item by item beside each release. With --folder, a demo that
ran there before is read instead of run; its time is then that of the cycle.
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
from benchmarks.zoo_bench import Examined
from bot.cycle.past.rebuild import kept_pool, stored_recipe
from bot.demo import demo_watchlist
from bot.home import Home
from bot.hub.resolver import source_folder
from bot.ledger.ledger import Ledger
from bot.scoring.resources import Resources
from bot.scoring.worker import Worker
from bot.scoring.worker_spec import WorkerSpec
from evaluation.splits import Split
from evaluation.statistics.intervals import difference_interval
from merging.recipes.weight_merge import WeightMerge

KIND = "vision-language"
CROSS = "cross"
STEPS = tuple(step / 10 for step in range(11))
"""The weights of a uniform pair."""


def main() -> Figures:
    """Run the demo once, score the uniform pairs, and print both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks demo_vision")
    parser.add_argument("--folder", type=Path, help="of a demo that ran before")
    known = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as place:
        folder = known or Path(place) / "demo"
        cycle, seconds = timed_demo(folder, "--kind", KIND) if known is None else past_demo(folder)
        search = cycle["search"]
        rate = 60 * search["candidates"] / search["seconds"]
        print(f"{rate:.0f} candidates a minute")
        figures = {"seconds": seconds, "candidates_per_minute": rate} | measured_in(cycle, seconds)
        return figures | compare_with_pairs(Home(folder / "home"), str(cycle["id"]))


def past_demo(folder: Path) -> tuple[Mapping[str, Any], float]:
    """What `shoal show` prints of a demo's first cycle, and the seconds between its start and its end."""
    command = [str(Path(sys.executable).parent / "shoal"), "show", "demo-vision-1", "--home", str(folder / "home")]
    answer = subprocess.run([*command, "--json"], stdout=subprocess.PIPE, text=True, check=True).stdout
    cycle = json.loads(answer)
    return cycle, (datetime.fromisoformat(cycle["finished"]) - datetime.fromisoformat(cycle["started"])).total_seconds()


def compare_with_pairs(home: Home, cycle: str) -> Figures:
    """The best uniform pair, and each release's wins and losses against it."""
    ledger = Ledger(home.ledger)
    worker = Worker(worker_spec(home, ledger, cycle))
    examined, releases = Examined(worker), ledger.releases(cycle)
    recipes = {release.role: stored_recipe(ledger, release.recipe) for release in releases}
    example = next(
        recipe for recipe in recipes.values() if isinstance(recipe, WeightMerge) and len(recipe.sources) == 2
    )
    asked = {
        split: [item.skill == CROSS for item in worker.facts(split).items] for split in (Split.SEARCH, Split.REPORT)
    }
    pairs = [uniform(example, weights) for weights in product(STEPS, STEPS) if any(weights)]
    best = max(pairs, key=lambda pair: examined(pair, Split.SEARCH)[asked[Split.SEARCH]].mean())
    theirs = examined(best, Split.REPORT)[asked[Split.REPORT]]
    weights = {source.name: row[0] for source, row in zip(best.sources, dict(best.parameters)["weight"], strict=True)}
    print(f"best uniform pair {weights}: cross {theirs.mean():.3f}")
    rows = []
    for role, recipe in recipes.items():
        ours = examined(recipe, Split.REPORT)[asked[Split.REPORT]]
        wins, losses = int((ours > theirs).sum()), int((ours < theirs).sum())
        gain = difference_interval(ours, theirs, seed=0, confidence=0.95)
        row = {"release": role, "cross": float(ours.mean()), "wins": wins, "losses": losses}
        rows.append(row | {"gain": [gain.mean, gain.low, gain.high]})
        print(f"{role:20} cross {ours.mean():.3f}  wins {wins}, losses {losses}, gain {gain.mean:+.3f}")
    return {"pair": weights, "pair_cross": float(theirs.mean()), "pairs": len(pairs), "against_pair": rows}


def uniform(recipe: WeightMerge, weights: Sequence[float]) -> WeightMerge:
    """A release's recipe with one weight for each source, the same in all groups."""
    rows = tuple((weight,) * len(recipe.groups.labels) for weight in weights)
    return replace(recipe, parameters=(("weight", rows),))


def worker_spec(home: Home, ledger: Ledger, cycle: str) -> WorkerSpec:
    """What the demo's workers were sent, for one in this process."""
    watchlist, pool = demo_watchlist("parameter", KIND), kept_pool(ledger, cycle)
    folders = {member.ref: source_folder(home.sources, member.ref) for member in pool.members}
    return WorkerSpec(
        kind=KIND,
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


if __name__ == "__main__":
    main()

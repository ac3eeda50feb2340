"""Searches of merges on several landscapes: the bot's own beside CMA-ES and chance.

    python -m benchmarks searches [--seeds N] [--budget N] [--landscapes …] [--arms …] [--zoos FOLDER] [--jobs N]

Three landscapes are merges of tiny models, scored exactly: the demo's two specialists (12 genes), two of six layers
(16), and four specialists whose skills are in each other's way (32). They are trained once, into `--zoos`, and every
score is kept there, so that what one arm has scored costs the next one nothing. The fourth is a formula of 104 genes.

Every arm has the same budget of evaluations, those of the sources and plain merges included. After some of them the
hypervolume of its front, above 0 in every skill, tells what it has found: by the scores of the search split, and by
those of the same front on items that no search has seen. Intervals are at 95 %, Student's t over the seeds; those of
differences are of the differences to `plain` on the same seed. The goal is 99 % of the median hypervolume of `plain`
with the whole budget. An arm's own time is what it takes besides scoring.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.landscapes.arms import ARMS
from benchmarks.landscapes.formula import FormulaLandscape
from benchmarks.landscapes.landscape import Landscape, Point, ZooLandscape
from benchmarks.landscapes.zoos import FOLDER, ZOOS, open_zoo
from benchmarks.record import Figures
from benchmarks.spaces import Estimate, over_seeds
from evaluation.harness.process_state import quiet
from evaluation.splits import Split
from merging.evolution.pareto import hypervolume, nondominated
from merging.recipes.recipe import Recipe

CHECKPOINTS = (60, 120, 200)
LANDSCAPES = (*ZOOS, FormulaLandscape.name)
CLOSE = 0.99
PLAIN = "plain"


@dataclass(frozen=True)
class Job:
    """One search to run."""

    landscape: str
    arm: str
    seed: int
    budget: int
    zoos: Path


@dataclass(frozen=True)
class Found:
    """What a search came to.

    curve: hypervolume on the search split after each evaluation. held_out: that of the front at each checkpoint on the
    items that it has not seen. fronts: members at each checkpoint. own_seconds: processor time besides scoring.
    """

    curve: tuple[float, ...]
    held_out: tuple[float, ...]
    fronts: tuple[int, ...]
    own_seconds: float

    def evaluations_to(self, goal: float) -> int | None:
        """How many it took to a hypervolume; None if it did not get there."""
        return next((count for count, volume in enumerate(self.curve, start=1) if volume >= goal), None)


class Timed:
    """A landscape that counts the processor time that scoring takes."""

    def __init__(self, landscape: Landscape) -> None:
        self._landscape = landscape
        self.name, self.space, self.skills = landscape.name, landscape.space, landscape.skills
        self.seconds = 0.0

    def score(self, recipe: Recipe, split: Split) -> Point:
        """The landscape's."""
        began = time.process_time()
        point = self._landscape.score(recipe, split)
        self.seconds += time.process_time() - began
        return point


def run(job: Job) -> Found:
    """Search, and judge what was found."""
    landscape = Timed(opened(job.landscape, job.zoos))
    began = time.process_time()
    recipes = ARMS[job.arm](landscape, job.seed, job.budget)
    own = time.process_time() - began - landscape.seconds
    points = [landscape.score(recipe, Split.SEARCH) for recipe in recipes]
    reached = checkpoints(job.budget)
    fronts = [nondominated(points[:count]) for count in reached]
    held_out = [[landscape.score(recipes[index], Split.REPORT) for index in front] for front in fronts]
    return Found(
        curve=volumes(points),
        held_out=tuple(hypervolume(members, (0.0,) * landscape.skills) for members in held_out),
        fronts=tuple(map(len, fronts)),
        own_seconds=own,
    )


@cache
def opened(name: str, zoos: Path) -> Landscape:
    """A landscape, which this process keeps open."""
    torch.set_num_threads(1)
    if name == FormulaLandscape.name:
        return FormulaLandscape()
    with quiet():
        return ZooLandscape(open_zoo(name, zoos), zoos / "scores.sqlite")


def checkpoints(budget: int) -> tuple[int, ...]:
    """The numbers of evaluations at which fronts are judged."""
    return (*(count for count in CHECKPOINTS if count < budget), budget)


def volumes(points: Sequence[Point]) -> tuple[float, ...]:
    """The front's hypervolume above 0 after each point."""
    front: list[Point] = []
    found: list[float] = []
    for point in points:
        if any(all(theirs >= own for theirs, own in zip(other, point, strict=True)) for other in front):
            found.append(found[-1])
            continue
        front = [one for one in front if any(mine > new for mine, new in zip(one, point, strict=True))] + [point]
        found.append(hypervolume(front, (0.0,) * len(point)))
    return tuple(found)


def summarise(arms: Mapping[str, Sequence[Found]], budget: int) -> list[dict[str, Any]]:
    """The figures of every arm on one landscape; the arms have the same seeds."""
    plain = arms.get(PLAIN)
    goal = None if plain is None else CLOSE * statistics.median(found.curve[-1] for found in plain)
    rows = []
    for name, founds in arms.items():
        row: dict[str, Any] = {"arm": name, "own_s_per_generation": _per_generation(founds, budget)}
        for key, values in measures(founds, budget).items():
            row[key] = _told(over_seeds(values))
            if plain is not None and name != PLAIN:
                row[f"{key}_lead"] = _told(over_seeds(values - measures(plain, budget)[key]))
        if goal is not None:
            row["evaluations_to_goal"] = [found.evaluations_to(goal) for found in founds]
        rows.append(row)
    return rows


def measures(founds: Sequence[Found], budget: int) -> dict[str, np.ndarray]:
    """Name → a value for each seed."""
    reached = checkpoints(budget)
    return {
        f"{key}_{count}": 100 * np.array([values(found, place) for found in founds])
        for place, count in enumerate(reached)
        for key, values in (
            ("search", lambda found, place: found.curve[min(reached[place], len(found.curve)) - 1]),
            ("held_out", lambda found, place: found.held_out[place]),
        )
    }


def _per_generation(founds: Sequence[Found], budget: int) -> float:
    return round(statistics.mean(found.own_seconds for found in founds) / (budget / 20), 4)


def _told(estimate: Estimate) -> dict[str, float]:
    return {"mean": round(estimate.mean, 3), "half_width": round(estimate.seeds, 3)}


def run_all(jobs: Sequence[Job], processes: int) -> dict[Job, Found]:
    """Every search, several at once."""
    done: dict[Job, Found] = {}
    with ProcessPoolExecutor(processes, mp_context=get_context("forkserver")) as pool:
        futures = {pool.submit(run, job): job for job in jobs}
        for future in as_completed(futures):
            job, found = futures[future], future.result()
            done[job] = found
            volume, held_out = 100 * found.curve[-1], 100 * found.held_out[-1]
            figures = f"hypervolume {volume:.2f}, held out {held_out:.2f}, front {found.fronts[-1]}"
            print(
                f"{job.landscape:8} {job.arm:16} seed {job.seed:2}: {figures}, own {found.own_seconds:.1f} s",
                flush=True,
            )
    return {job: done[job] for job in jobs}


def show(landscape: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a landscape's figures."""
    keys = [key for key in rows[0] if key.startswith(("search_", "held_out_")) and not key.endswith("_lead")]
    print(f"\n{landscape:18}" + "".join(f"{key:>26}" for key in keys) + "   evaluations to the goal, own s")
    for row in rows:
        cells = [_cell(row[key], row.get(f"{key}_lead")) for key in keys]
        told = sorted((9999 if count is None else count) for count in row.get("evaluations_to_goal", []))
        print(
            f"{row['arm']:18}" + "".join(f"{cell:>26}" for cell in cells), told, row["own_s_per_generation"], sep="   "
        )


def _cell(value: Mapping[str, float], lead: Mapping[str, float] | None) -> str:
    told = f"{value['mean']:.2f}"
    return told if lead is None else f"{told} ({lead['mean']:+.2f} ± {lead['half_width']:.2f})"


def main() -> Figures:
    """Run every arm on every landscape and seed, print the tables, and return their figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks searches")
    parser.add_argument("--seeds", type=int, default=10, help="searches of each arm, at least 2 (default 10)")
    parser.add_argument("--budget", type=int, default=200, help="evaluations of a search (default 200)")
    parser.add_argument("--landscapes", nargs="+", choices=LANDSCAPES, default=LANDSCAPES)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--zoos", type=Path, default=FOLDER, help="folder of zoos and scores")
    parser.add_argument("--jobs", type=int, default=2, help="searches that run at the same time (default 2)")
    asked = parser.parse_args()
    if asked.seeds < 2:
        parser.error(f"--seeds: got {asked.seeds}: intervals need at least 2")
    for name in ZOOS.keys() & set(asked.landscapes):
        open_zoo(name, asked.zoos)  # trained here, before several processes want it
    seeds = range(1, asked.seeds + 1)
    jobs = [Job(*one, asked.budget, asked.zoos) for one in product(asked.landscapes, asked.arms, seeds)]
    found = run_all(jobs, asked.jobs)
    figures = []
    for landscape in asked.landscapes:
        arms = {
            arm: [one for job, one in found.items() if (job.landscape, job.arm) == (landscape, arm)]
            for arm in asked.arms
        }
        rows = summarise(arms, asked.budget)
        show(landscape, rows)
        figures.append({"landscape": landscape, "genes": len(opened(landscape, asked.zoos).space.levels), "arms": rows})
    reached = checkpoints(asked.budget)
    return {"seeds": asked.seeds, "budget": asked.budget, "checkpoints": reached, "landscapes": figures}


if __name__ == "__main__":
    main()

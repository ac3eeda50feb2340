"""Searches that are run and judged: several at once, each by what its front scores, seen and unseen."""

from __future__ import annotations

import statistics
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.landscapes.arms import POPULATION
from benchmarks.landscapes.contestants import ARMS, RACED, SHRUNKEN
from benchmarks.landscapes.formula import FormulaLandscape
from benchmarks.landscapes.landscape import Landscape, Point, ZooLandscape
from benchmarks.landscapes.scorer import ItemAnswers
from benchmarks.landscapes.zoos import ZOOS, open_zoo
from benchmarks.spaces import Estimate, over_seeds
from bot.watchlist.sections import GroupsSection
from evaluation.harness.process_state import quiet
from evaluation.splits import Split
from merging.evolution.outcomes import Outcome, Scored
from merging.evolution.pareto import hypervolume, nondominated
from merging.evolution.shrinkage import shrink_front
from merging.recipes.recipe import Recipe

LANDSCAPES = (*ZOOS, FormulaLandscape.name)
CHECKPOINTS = (60, 120, 200)
CLOSE = 0.99
"""Share of a hypervolume that counts as reaching it."""

ROUNDING = 1e-9
"""Sums of shares of a full scoring may differ by this much from what they are."""

T = TypeVar("T")


@dataclass(frozen=True)
class Trial:
    """One search to run. name: that of its row; arm: how it searches. groups: None for the landscape's own."""

    landscape: str
    name: str
    arm: str
    seed: int
    budget: int
    zoos: Path
    groups: GroupsSection | None = None


@dataclass(frozen=True)
class Found:
    """What a search came to.

    spent: full scorings after each of its steps, whose items may be those of several recipes. curve: the hypervolume on
    the search split after it. held_out: that of the front at each checkpoint on the items that it has not seen.
    fronts: members at each checkpoint. own_seconds: processor time besides scoring. shrunken: as `held_out`, of the
    front that is chosen by a model of the scores; empty for searches whose front the bot does not choose.
    """

    spent: tuple[float, ...]
    curve: tuple[float, ...]
    held_out: tuple[float, ...]
    fronts: tuple[int, ...]
    own_seconds: float
    shrunken: tuple[float, ...] = ()

    def volume_at(self, count: int) -> float:
        """The hypervolume on the search split when so many full scorings were spent."""
        return self.curve[bisect_right(self.spent, count + ROUNDING) - 1]

    def cost_of(self, goal: float) -> float | None:
        """The full scorings that it took to a hypervolume; None if it did not get there."""
        return next((spent for spent, volume in zip(self.spent, self.curve, strict=True) if volume >= goal), None)


class Timed:
    """A landscape that counts the processor time that scoring takes."""

    def __init__(self, landscape: Landscape) -> None:
        self._landscape = landscape
        self.name, self.space, self.skills = landscape.name, landscape.space, landscape.skills
        self.items, self.zoo = landscape.items, landscape.zoo
        self.seconds = 0.0

    def score(self, recipe: Recipe, split: Split) -> Point:
        """The landscape's."""
        return self._timed(self._landscape.score, recipe, split)

    def answers(self, recipe: Recipe, split: Split) -> ItemAnswers:
        """The landscape's."""
        return self._timed(self._landscape.answers, recipe, split)

    def _timed(self, answer: Callable[[Recipe, Split], T], recipe: Recipe, split: Split) -> T:
        began = time.process_time()
        answered = answer(recipe, split)
        self.seconds += time.process_time() - began
        return answered


def run_trial(trial: Trial) -> Found:
    """Search, and judge what was found."""
    landscape = Timed(open_landscape(trial.landscape, trial.zoos, trial.groups))
    if trial.arm in RACED and landscape.zoo is not None:
        _ = landscape.zoo.search_items  # made once in this process, not in a search's own time
    began = time.process_time()
    steps = ARMS[trial.arm](landscape, trial.seed, trial.budget)
    own = time.process_time() - began - landscape.seconds
    spent = [float(total) / landscape.items for total in np.cumsum([step.item_scores for step in steps])]
    known = [[(recipe, landscape.score(recipe, Split.SEARCH)) for recipe in step.recipes] for step in steps]
    reached = [bisect_right(spent, count + ROUNDING) for count in checkpoints(trial.budget)]
    until = [dict(one for some in known[:done] for one in some) for done in reached]
    fronts = [_measured_front(scored) for scored in until]
    shrunken = [_shrunken_front(landscape, scored) for scored in until] if trial.arm in SHRUNKEN else []
    return Found(
        spent=tuple(spent),
        curve=hypervolumes([[point for _, point in some] for some in known]),
        held_out=tuple(_held_out(landscape, front) for front in fronts),
        fronts=tuple(map(len, fronts)),
        own_seconds=own,
        shrunken=tuple(_held_out(landscape, front) for front in shrunken),
    )


def _measured_front(scored: Mapping[Recipe, Point]) -> list[Recipe]:
    """The recipes that no other one dominates by its scores."""
    recipes, points = list(scored), list(scored.values())
    return [recipes[index] for index in nondominated(points)]


def _shrunken_front(landscape: Landscape, scored: Mapping[Recipe, Point]) -> list[Recipe]:
    """The front as the bot chooses it: by a model of the scores, where it has one."""
    everything = [Scored(recipe, Outcome(point, None, 0.0), 0) for recipe, point in scored.items()]
    chosen = shrink_front(landscape.space, everything, POPULATION)
    if chosen is None:
        return _measured_front(scored)
    return [one.scored.recipe for one in chosen if one.chosen]


def _held_out(landscape: Landscape, front: Iterable[Recipe]) -> float:
    """The hypervolume of a front on the items that no search has seen."""
    return hypervolume([landscape.score(recipe, Split.REPORT) for recipe in front], (0.0,) * landscape.skills)


@cache
def open_landscape(name: str, zoos: Path, groups: GroupsSection | None = None) -> Landscape:
    """A landscape, which this process keeps open."""
    torch.set_num_threads(1)
    if name == FormulaLandscape.name:
        return FormulaLandscape()
    with quiet():
        return ZooLandscape(open_zoo(name, zoos), zoos / "scores.sqlite", groups)


def run_trials(trials: Sequence[Trial], processes: int) -> dict[Trial, Found]:
    """Every search, several at once; the zoos are trained first."""
    for landscape, zoos in sorted({(trial.landscape, trial.zoos) for trial in trials}):
        open_landscape(landscape, zoos)
    done: dict[Trial, Found] = {}
    with ProcessPoolExecutor(processes, mp_context=get_context("forkserver")) as pool:
        futures = {pool.submit(run_trial, trial): trial for trial in trials}
        for future in as_completed(futures):
            trial, found = futures[future], future.result()
            done[trial] = found
            figures = f"hypervolume {100 * found.curve[-1]:.2f}, held out {100 * found.held_out[-1]:.2f}"
            told = f"{figures}, front {found.fronts[-1]}, own {found.own_seconds:.1f} s"
            print(f"{trial.landscape:8} {trial.name:24} seed {trial.seed:2}: {told}", flush=True)
    return {trial: done[trial] for trial in trials}


def checkpoints(budget: int) -> tuple[int, ...]:
    """The numbers of full scorings at which fronts are judged."""
    return (*(count for count in CHECKPOINTS if count < budget), budget)


def hypervolumes(steps: Iterable[Sequence[Point]]) -> tuple[float, ...]:
    """The front's hypervolume above 0 after each step's points."""
    front: list[Point] = []
    found: list[float] = []
    for points in steps:
        new = [point for point in points if not any(_equals_or_beats(other, point) for other in front)]
        front += new
        found.append(hypervolume(front, (0.0,) * len(front[0])) if new else found[-1])
        front = [front[index] for index in nondominated(front)]
    return tuple(found)


def _equals_or_beats(one: Point, other: Point) -> bool:
    return all(mine >= theirs for mine, theirs in zip(one, other, strict=True))


def by_name(found: Mapping[Trial, Found], landscape: str) -> dict[str, list[Found]]:
    """What the rows of one landscape found, in the order of their seeds."""
    rows: dict[str, list[Found]] = {}
    for trial, one in found.items():
        if trial.landscape == landscape:
            rows.setdefault(trial.name, []).append(one)
    return rows


def summarise(rows: Mapping[str, Sequence[Found]], rival: str, budget: int) -> list[dict[str, Any]]:
    """The figures of every row on one landscape, and its leads over a rival row on the same seeds.

    Leads are over the rival after the same budget, and over the rival in the end. Hypervolumes are × 100. The goal is a
    share of `CLOSE` of the rival's median hypervolume in the end.
    """
    goal = CLOSE * statistics.median(found.curve[-1] for found in rows[rival])
    rivals = _measures(rows[rival], budget)
    summary = []
    for name, founds in rows.items():
        row: dict[str, Any] = {"name": name}
        measures = _measures(founds, budget)
        for key, values in measures.items():
            row[key] = _told(over_seeds(values))
            if key.startswith("shrunken_"):
                row[f"{key}_gain"] = _told(over_seeds(values - measures[key.replace("shrunken", "held_out")]))
            if name != rival and key in rivals:
                row[f"{key}_lead"] = _told(over_seeds(values - rivals[key]))
                row[f"{key}_lead_over_end"] = _told(over_seeds(values - rivals[_at_end(key, budget)]))
        row["to_goal"] = [found.cost_of(goal) for found in founds]
        row["own_seconds"] = round(statistics.mean(found.own_seconds for found in founds), 2)
        summary.append(row)
    return summary


def _at_end(key: str, budget: int) -> str:
    """The name of the same measure when the budget is spent."""
    return f"{key.rpartition('_')[0]}_{budget}"


def _measures(founds: Sequence[Found], budget: int) -> dict[str, NDArray[np.float64]]:
    """Name → a value for each seed. A search that ended early keeps what it had."""
    measures = {}
    for place, count in enumerate(checkpoints(budget)):
        measures[f"search_{count}"] = [found.volume_at(count) for found in founds]
        measures[f"held_out_{count}"] = [found.held_out[place] for found in founds]
        if all(found.shrunken for found in founds):
            measures[f"shrunken_{count}"] = [found.shrunken[place] for found in founds]
    return {name: 100 * np.array(values) for name, values in measures.items()}


def _told(estimate: Estimate) -> dict[str, float]:
    return {"mean": round(estimate.mean, 3), "half_width": round(estimate.seeds, 3)}


def print_summary(landscape: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a landscape's figures."""
    keys = [key for key in rows[0] if key.startswith(("search_", "held_out_")) and "lead" not in key]
    print(f"\n{landscape:24}" + "".join(f"{key:>24}" for key in keys) + "   full scorings to the goal; own seconds")
    for row in rows:
        cells = [_cell(row[key], row.get(f"{key}_lead")) for key in keys]
        reached = " ".join("-" if cost is None else f"{cost:.0f}" for cost in row["to_goal"])
        print(f"{row['name']:24}" + "".join(f"{cell:>24}" for cell in cells) + f"   {reached}; {row['own_seconds']}")


def _cell(value: Mapping[str, float], lead: Mapping[str, float] | None) -> str:
    told = f"{value['mean']:.1f}"
    return told if lead is None else f"{told} ({lead['mean']:+.1f} ± {lead['half_width']:.1f})"

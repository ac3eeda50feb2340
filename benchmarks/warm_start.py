"""A cycle with one new source, begun with what the cycle before found, beside the same cycle begun from nothing.

    python -m benchmarks warm_start [SEEDS] [--candidates N]

For each seed a first cycle searches merges of the demo's two specialists. Then one source is new: the language model,
trained again from another seed, takes the old one's place, or a third specialist joins the two. The search of the next
cycle runs twice with that seed: on an empty ledger, and on the first cycle's. The goal is the final hypervolume of the
search from nothing, within 1 %; what counts are the item scores that a search asks for until it is there, without those
of the baselines. Claim: the warm search needs at most 50 % of them.
"""

from __future__ import annotations

import argparse
import copy
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaForCausalLM

from benchmarks.racing import CLOSE, Notes, Recalled, Spent, reached
from benchmarks.record import Figures
from benchmarks.spaces import over_seeds
from benchmarks.zoo_bench import Examined, checkpoints, demo_space, demo_watchlist, spec
from bot.ledger.ledger import Ledger, State
from bot.scoring.cached import CachedEvaluator
from bot.scoring.resources import Resources
from bot.scoring.worker import Worker
from bot.search.baselines import Baseline
from bot.search.recall import Recall
from bot.search.results import BaselineKind, RecallSummary
from bot.search.run import search_recipes
from bot.search.strategies.weight_merges import WeightMergeSearch
from bot.search.warm_start import TodaysModels
from bot.watchlist.sections import ROUNDS
from bot.watchlist.watchlist import Watchlist
from evaluation.splits import Split
from merging.evolution.outcomes import Generation
from merging.identity import ModelId
from zoo.repo import LANGUAGE, MATH, WEIGHTS
from zoo.train import COURSES, Course, train, write

OLD = (ModelId(MATH, "0" * 40), ModelId(LANGUAGE, "0" * 40))
TRAINED_AGAIN = ModelId(LANGUAGE, "1" * 40)
JOINED = ModelId("benchmarks/minnow-cross", "1" * 40)
CHANGES = {"a source trained again": (OLD[0], TRAINED_AGAIN), "a third source": (*OLD, JOINED)}
"""What is new → the sources of the second cycle."""

NEW_SEED = 5
NEW_COURSES = {
    TRAINED_AGAIN: COURSES["language"],
    JOINED: replace(COURSES["language"], mix={"basic_cross": 1.0, "language": 0.3}),
}


@dataclass(frozen=True)
class Cycle:
    """A cycle's search: what was spent by the end of each generation, and what it began with."""

    run: list[tuple[Generation, Spent]]
    recalled: RecallSummary

    @property
    def hypervolume(self) -> float:
        """The front's, in the end."""
        return self.run[-1][0].hypervolume


def train_new(folder: Path) -> dict[ModelId, Path]:
    """Train the new sources from the demo's base."""
    base = LlamaForCausalLM.from_pretrained(WEIGHTS / "base")
    found = {}
    for number, (model, course) in enumerate(NEW_COURSES.items()):
        found[model] = folder / str(number)
        write(_trained(copy.deepcopy(base), course), found[model])
    return found


def _trained(model: LlamaForCausalLM, course: Course) -> LlamaForCausalLM:
    train("new", course, model, NEW_SEED)
    return model


def open_worker(new: dict[ModelId, Path]) -> Worker:
    """A worker that has all sources of all cycles."""
    folders = checkpoints() | new
    resources = Resources(1, 1, "cpu", 64)
    return Worker(replace(spec(resources), sources=tuple(folders), checkpoints=tuple(folders.items()), rounds=ROUNDS))


def search_cycle(ledger: Ledger, watchlist: Watchlist, sources: Sequence[ModelId], evaluator: Recalled) -> Cycle:
    """The search of the next cycle on a ledger."""
    space = demo_space(sources=sources)
    strategy, cached, notes = WeightMergeSearch(space), CachedEvaluator(ledger, evaluator), Notes(evaluator)
    cycle = ledger.begin(watchlist.name, watchlist.digest, datetime.now(UTC))
    earlier = tuple(one for one in ledger.cycles(watchlist.name) if one.number < cycle.number)
    today = TodaysModels(tuple(sources), space.base, space.groups, ())
    recall = Recall(ledger, earlier, watchlist, strategy, today)
    recipes = [*space.singles(), *(recipe for _, recipe in space.plain_recipes())]
    found = recall.recalled(cycle.id, cached, [Baseline("", BaselineKind.PLAIN, recipe) for recipe in recipes])
    warm, baselines = recall.warm_start(found, cached), cached.evaluate(recipes, Split.SEARCH)
    evaluator.begin()
    result = search_recipes(watchlist, strategy, cached, baselines, ledger, cycle.id, notes, warm)
    ledger.finish(cycle.id, State.NOTHING, "", datetime.now(UTC))
    return Cycle(list(zip(result.generations, notes.spent, strict=True)), found.summary)


def compare(seed: int, candidates: int, evaluator: Recalled) -> list[dict[str, object]]:
    """Both sides of every change for one seed."""
    demo = demo_watchlist()
    budget = demo.search.budget.model_copy(update={"candidates": candidates})
    watchlist = demo.model_copy(update={"search": demo.search.model_copy(update={"seed": seed, "budget": budget})})
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "before.sqlite"
        first = Ledger(before)
        search_cycle(first, watchlist, OLD, evaluator)
        first.close()
        for number, (change, sources) in enumerate(CHANGES.items()):
            after = Ledger(Path(shutil.copy(before, Path(folder) / f"after-{number}.sqlite")))
            warm = search_cycle(after, watchlist, sources, evaluator)
            cold = search_cycle(Ledger(Path(folder) / f"empty-{number}.sqlite"), watchlist, sources, evaluator)
            row = {"change": change, "seed": seed, **figures(cold, warm)}
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
            rows.append(row)
    return rows


def figures(cold: Cycle, warm: Cycle) -> dict[str, object]:
    """What both sides needed, and the warm one's share of it if it came to the goal."""
    goal = CLOSE * cold.hypervolume
    there, late = reached(warm.run, goal), reached(cold.run, goal)
    assert late is not None  # by its last generation
    reaching = {} if there is None else {"warm_items": there.items, "share": round(there.items / late.items, 4)}
    return {
        "cold_items": late.items,
        **reaching,
        "cold_hypervolume": round(cold.hypervolume, 4),
        "warm_hypervolume": round(warm.hypervolume, 4),
        "carried": warm.recalled.carried,
        "known": warm.recalled.known,
    }


def main() -> Figures:
    """Compare both sides for every seed, and print the shares."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks warm_start")
    parser.add_argument("seeds", nargs="?", type=int, default=5)
    parser.add_argument("--candidates", type=int, default=demo_watchlist().search.budget.candidates)
    asked = parser.parse_args()
    if asked.seeds < 2:
        parser.error(f"seeds: got {asked.seeds}: an interval needs at least 2")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        worker = open_worker(train_new(Path(folder)))
        examined = Examined(worker)
        evaluator = Recalled(lambda recipe: examined(recipe, Split.SEARCH), worker.facts(Split.SEARCH), None)
        rows = [row for seed in range(1, asked.seeds + 1) for row in compare(seed, asked.candidates, evaluator)]
    changes = [summarise(change, [row for row in rows if row["change"] == change]) for change in CHANGES]
    return {"candidates": asked.candidates, "changes": changes, "searches": rows}


def summarise(change: str, rows: Sequence[dict[str, object]]) -> dict[str, object]:
    """The shares of one change over the seeds: their mean with its 95 % interval, and their range."""
    shares = [float(str(row["share"])) for row in rows if "share" in row]
    found: dict[str, object] = {"change": change, "searches": len(rows), "reached": len(shares)}
    if shares:
        mean = over_seeds(np.array(shares))
        found |= {"mean": mean.mean, "half_width": mean.both, "lowest": min(shares), "highest": max(shares)}
        print(f"{change}: median {statistics.median(shares):.0%}, from {min(shares):.0%} to {max(shares):.0%}")
    return found


if __name__ == "__main__":
    main()

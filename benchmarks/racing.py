"""What a search with a race needs to find what a search finds that scores every candidate on all items.

    python -m benchmarks racing [SEEDS] [--zoo FOLDER] [--costs]

Both sides breed from the same seeds on the demo's tasks, with the same budget. The goal is the final hypervolume of the
search that scores everything, within 1 %; hypervolume is always that of a front's scores on all items of the search
split. Every score is computed once and shared by all searches of the run; each side counts the items that it asks for.
Claim: to reach the goal the race needs at most 35 % of all item scores of the other side. A race that never comes there
has no share.

With --costs both sides count processor seconds as well. An evaluation and each of its rounds cost what they cost on
models of 0.1 billion parameters with few-shot prompts, by the results of `benchmarks.rounds`; what breeding, estimates
and decisions cost is measured in the searches themselves. Claim: the race needs at most 60 % of the seconds.

`benchmarks.racing_other` does the same on a zoo that is trained from another seed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import Figures, load
from benchmarks.rounds import RoundCosts
from benchmarks.zoo_bench import Examined, demo_space, demo_watchlist, spec
from bot.ledger.ledger import Ledger
from bot.progress import Advance
from bot.scoring.cached import CachedEvaluator
from bot.scoring.evaluator import Failure, NextRound
from bot.scoring.resources import Resources
from bot.scoring.worker import Worker
from bot.scoring.worker_spec import WorkerSpec
from bot.search.run import search_recipes
from bot.search.strategies.weight_merges import WeightMergeSearch
from bot.watchlist.sections import ROUNDS, RacingSection
from bot.watchlist.watchlist import Watchlist
from evaluation.eval_set import AS_TASKS_SAY, EvalItem, EvalSetFacts, ItemResults, OwnDrawing, Sample
from evaluation.splits import Split
from merging.evolution.outcomes import Generation
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.space import MergeSpace
from zoo.repo import WEIGHTS

CLOSE = 0.99
"""Share of the hypervolume that counts as reaching it."""


@dataclass(frozen=True)
class Spent:
    """What a search has spent: item scores, seconds of scoring by the measured costs, and seconds of its own."""

    items: int
    scoring: float
    own: float

    @property
    def seconds(self) -> float:
        """All processor seconds."""
        return self.scoring + self.own


class Recalled:
    """An evaluator that computes a recipe's answers once, and counts what each search asks for."""

    def __init__(self, answers: Callable[[WeightMerge], Any], eval_set: EvalSetFacts, costs: RoundCosts | None) -> None:
        self._answers = answers
        self._eval_set = eval_set
        self._costs = costs
        self._places = {item: place for place, item in enumerate(eval_set.items)}
        self.begin()

    def begin(self) -> None:
        """Count from 0."""
        self._items, self._scoring, self._computing = 0, 0.0, 0.0
        self._live = ""
        self._began = time.process_time()

    @property
    def spent(self) -> Spent:
        """What was spent since `begin`."""
        return Spent(self._items, self._scoring, time.process_time() - self._began - self._computing)

    @property
    def width(self) -> int:
        """One at a time."""
        return 1

    def facts(self, split: Split) -> EvalSetFacts:
        """Describe the evaluation set of the search split."""
        assert split is Split.SEARCH
        return self._eval_set

    def evaluate(self, recipes: Sequence[WeightMerge], split: Split) -> Iterator[tuple[int, ItemResults | Failure]]:
        """One recipe after the other."""
        assert split is Split.SEARCH
        for index, recipe in enumerate(recipes):
            yield index, self._results(recipe, None)

    def evaluate_rounds(
        self, recipes: Sequence[WeightMerge], split: Split, first: Sequence[int], next_round: NextRound
    ) -> None:
        """One recipe after the other."""
        assert split is Split.SEARCH
        for index, recipe in enumerate(recipes):
            number: int | None = first[index]
            while number is not None:
                number = next_round(index, self._results(recipe, number))

    def _results(self, recipe: WeightMerge, number: int | None) -> ItemResults:
        asked = self._eval_set if number is None else self._eval_set.rounds[number]
        self._items += len(asked.items)
        if self._costs is not None:
            rounds = self._costs.going_on if recipe.digest == self._live else self._costs.coming_back
            self._scoring += self._costs.whole if number is None else rounds[number]
        self._live = recipe.digest
        started = time.process_time()
        answers = self._answers(recipe)
        self._computing += time.process_time() - started
        scores = tuple(item.scored(float(answers[self._places[item]]), None) for item in asked.items)
        return ItemResults(asked.digest, scores, 1.0)

    def evaluate_folder(self, folder: Path, split: Split, own: OwnDrawing = AS_TASKS_SAY) -> ItemResults | Failure:
        """Nothing is written here."""
        raise NotImplementedError(f"{folder} on {split}")

    def ask(self, folder: Path, items: Sequence[EvalItem], own: OwnDrawing = AS_TASKS_SAY) -> Sample | Failure:
        """Nothing is written here."""
        raise NotImplementedError(f"{folder}, {len(items)} items")


class Notes:
    """A narrator that says nothing, and notes what was spent at the end of every generation."""

    def __init__(self, evaluator: Recalled) -> None:
        self._evaluator = evaluator
        self.spent: list[Spent] = []

    def say(self, text: str) -> None:
        """Nothing."""

    @contextmanager
    def bar(self, title: str, total: int | None, **_: object) -> Iterator[Advance]:  # noqa: ARG002
        """Note what was spent."""

        def advance(_done: int, words: str) -> None:
            if words:  # at the end of a generation
                self.spent.append(self._evaluator.spent)

        yield advance


def search(zoo: Path, seed: int, racing: RacingSection | None, evaluator: Recalled) -> list[tuple[Generation, Spent]]:
    """A search of the demo by a seed, from a ledger that knows nothing but the baselines."""
    watchlist = demo_watchlist()
    settings = watchlist.search.model_copy(update={"seed": seed, "racing": racing})
    return search_space(demo_space(zoo), watchlist.model_copy(update={"search": settings}), evaluator)


def search_space(space: MergeSpace, watchlist: Watchlist, evaluator: Recalled) -> list[tuple[Generation, Spent]]:
    """A search as a watchlist has it, from a ledger that knows nothing but the baselines."""
    notes = Notes(evaluator)
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        cycle = ledger.begin(watchlist.name, watchlist.digest, datetime.now(UTC)).id
        cached = CachedEvaluator(ledger, evaluator)
        baselines = cached.evaluate([*space.singles(), *(recipe for _, recipe in space.plain_recipes())], Split.SEARCH)
        evaluator.begin()
        found = search_recipes(watchlist, WeightMergeSearch(space), cached, baselines, ledger, cycle, notes)
    return list(zip(found.generations, notes.spent, strict=True))


def reached(run: Sequence[tuple[Generation, Spent]], goal: float) -> Spent | None:
    """What was spent when the hypervolume first came to the goal; None if it never did."""
    return next((spent for generation, spent in run if generation.hypervolume >= goal), None)


def few_shot_costs(rounds: int) -> RoundCosts:
    """The costs that `benchmarks.rounds` has measured for so many rounds."""
    found: Any = load("rounds")
    (row,) = (one for one in found["sizes"] if len(one["items_of_each_round"]) == rounds)
    return RoundCosts(row["whole_cpu_s"], tuple(row["going_on_cpu_s"]), tuple(row["coming_back_cpu_s"]))


def demo_spec(zoo: Path, rounds: int) -> WorkerSpec:
    """The demo's worker on a zoo."""
    return replace(spec(Resources(1, 1, "cpu", 64), zoo), rounds=rounds)


def main(zoo: Path | None = None) -> Figures:
    """Search with and without a race, and print what each needed. zoo: instead of the one on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks racing")
    parser.add_argument("seeds", nargs="?", type=int, default=5)
    parser.add_argument("--zoo", type=Path, default=WEIGHTS)
    parser.add_argument("--costs", action="store_true")
    asked = parser.parse_args()
    zoo, racing = zoo or asked.zoo, RacingSection()
    torch.set_num_threads(1)
    worker = Worker(demo_spec(zoo, racing.rounds or ROUNDS))
    examined, facts = Examined(worker), worker.facts(Split.SEARCH)
    costs = None
    if asked.costs:
        costs = few_shot_costs(len(facts.rounds))
    evaluator = Recalled(lambda recipe: examined(recipe, Split.SEARCH), facts, costs)
    rows = [compare(zoo, seed, racing, evaluator) for seed in range(1, asked.seeds + 1)]
    for name in ("items_of_needed", "items_of_all", "seconds_of_needed", "seconds_of_all"):
        if values := [row[name] for row in rows if name in row]:
            print(f"{name}: median {statistics.median(values):.0%}, from {min(values):.0%} to {max(values):.0%}")
    return {
        "rounds": [len(one.items) for one in facts.rounds],
        "costs": None if costs is None else asdict(costs),
        "seeds": rows,
    }


def compare(zoo: Path, seed: int, racing: RacingSection, evaluator: Recalled) -> dict[str, float]:
    """Both searches of one seed: the race's spending at the goal beside the other side's, at the goal and in all."""
    off, on = search(zoo, seed, None, evaluator), search(zoo, seed, racing, evaluator)
    full = off[-1][0].hypervolume
    row = {"hypervolume": full, "race_hypervolume": on[-1][0].hypervolume}
    needed, race, everything = reached(off, CLOSE * full), reached(on, CLOSE * full), off[-1][1]
    assert needed is not None  # by its last generation
    if race is not None:
        row |= {"items_of_needed": race.items / needed.items, "items_of_all": race.items / everything.items}
        if everything.scoring:
            row |= {
                "own_seconds": race.own,
                "seconds_of_needed": race.seconds / needed.seconds,
                "seconds_of_all": race.seconds / everything.seconds,
            }
    print(f"seed {seed}:", ", ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
    return row


if __name__ == "__main__":
    main()

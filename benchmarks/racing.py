"""Item scores that a search of the demo needs: with a race, in which candidates leave early, against full scoring.

    python -m benchmarks.racing [SEEDS]

Both sides breed from the same seeds under the same budget of item scores. The goal is the final hypervolume of the
search that scores every candidate on all items, within 1 %; hypervolume is always that of a front's scores on all
items of the search split. Every score is computed once and shared by all searches of the run; each side counts the
items that it asked for. Printed: what the race needed as a share of what full scoring needed to come as near to its
own end, and of all that full scoring spent. Claim: at most 35 % of the latter (median over the seeds).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.record import Figures
from benchmarks.zoo_bench import demo_space, demo_watchlist, in_process_scores, spec
from bot.ledger.ledger import Ledger
from bot.progress import Advance
from bot.scoring.cached import CachedEvaluator
from bot.scoring.evaluator import Failure
from bot.scoring.resources import Resources
from bot.scoring.worker import Worker
from bot.search.run import search_recipes
from bot.search.strategies.weight_merges import WeightMergeSearch
from bot.watchlist.sections import ROUNDS, RacingSection
from evaluation.eval_set import EvalItem, EvalSetFacts, ItemResults, Sample
from evaluation.splits import Split
from merging.evolution.outcomes import Generation
from merging.recipes.weight_merge import WeightMerge

CLOSE = 0.99
"""Share of the hypervolume that counts as reaching it."""


class Recalled:
    """Evaluator who compute a recipe's answers once, and count the items that each search asks for."""

    def __init__(self, answers: Callable[[WeightMerge], Any], eval_set: EvalSetFacts) -> None:
        self._answers = answers
        self._eval_set = eval_set
        self._places = {item: place for place, item in enumerate(eval_set.items)}
        self.asked = 0

    @property
    def width(self) -> int:
        """One at a time."""
        return 1

    def facts(self, split: Split) -> EvalSetFacts:
        """What the exam of the search split asks."""
        assert split is Split.SEARCH
        return self._eval_set

    def evaluate(
        self, recipes: Sequence[WeightMerge], split: Split, round_index: int | None = None
    ) -> Iterator[tuple[int, ItemResults | Failure]]:
        """All at once, in order."""
        assert split is Split.SEARCH
        asked = self._eval_set.part(round_index)
        for index, recipe in enumerate(recipes):
            self.asked += len(asked.items)
            answers = self._answers(recipe)
            scores = tuple(item.scored(float(answers[self._places[item]]), None) for item in asked.items)
            yield index, ItemResults(asked.digest, scores, 1.0)

    def evaluate_folder(self, folder: Path, split: Split) -> ItemResults | Failure:
        """Nothing is written here."""
        raise NotImplementedError(f"{folder} on {split}")

    def ask(self, folder: Path, items: Sequence[EvalItem]) -> Sample | Failure:
        """Nothing is written here."""
        raise NotImplementedError(f"{folder}, {len(items)} items")


class Silence:
    """A narrator who says nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    @contextmanager
    def bar(self, title: str, total: int | None, **_: object) -> Iterator[Advance]:  # noqa: ARG002
        """Nothing."""

        def advance(_done: int, _words: str) -> None:
            pass

        yield advance


def generations(seed: int, racing: RacingSection | None, evaluator: Recalled) -> tuple[Generation, ...]:
    """A search of the demo by a seed, from a ledger that knows nothing."""
    space, watchlist = demo_space(), demo_watchlist()
    settings = watchlist.search.model_copy(update={"seed": seed, "racing": racing})
    watchlist = watchlist.model_copy(update={"search": settings})
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        cycle = ledger.begin(watchlist.name, watchlist.digest, datetime.now(UTC)).id
        evaluator = CachedEvaluator(ledger, evaluator)
        baselines = evaluator.evaluate(
            [*space.singles(), *(recipe for _, recipe in space.plain_recipes())], Split.SEARCH
        )
        return search_recipes(
            watchlist, WeightMergeSearch(space), evaluator, baselines, ledger, cycle, Silence()
        ).generations


def reached(run: Sequence[Generation], goal: float) -> float:
    """Full scorings spent when the hypervolume first came to the goal; infinite if it never did."""
    return next((generation.spent for generation in run if generation.hypervolume >= goal), float("inf"))


def main() -> Figures:
    """Search with and without a race, and print what each needed."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    racing = RacingSection()
    answers, _ = in_process_scores()
    eval_set = Worker(replace(spec(Resources(1, 1, "cpu", 64)), rounds=racing.rounds or ROUNDS)).facts(Split.SEARCH)
    evaluator = Recalled(answers, eval_set)
    items = len(eval_set.items)
    shares, of_whole = [], []
    print("seed   goal     off needs   race needs   of what off needs   of its whole budget   final off   final race")
    for seed in range(1, seeds + 1):
        off, on = generations(seed, None, evaluator), generations(seed, racing, evaluator)
        goal = CLOSE * off[-1].hypervolume
        needed = reached(off, goal), reached(on, goal)
        shares.append(needed[1] / needed[0])
        of_whole.append(needed[1] / off[-1].spent)
        print(
            f"{seed:4}   {goal:.4f}   {needed[0] * items:9,.0f}   {needed[1] * items:10,.0f}   "
            f"{shares[-1]:17.0%}   {of_whole[-1]:19.0%}   {off[-1].hypervolume:9.4f}   {on[-1].hypervolume:10.4f}   "
            f"({off[-1].scored} and {on[-1].scored} candidates)",
            flush=True,
        )
    for name, values in (("of what off needs", shares), ("of off's whole budget", of_whole)):
        print(f"share {name}: median {statistics.median(values):.0%}, mean {statistics.fmean(values):.0%}")
    return {"seeds": seeds, "share_of_what_full_scoring_needs": shares, "share_of_its_whole_budget": of_whole}


if __name__ == "__main__":
    main()

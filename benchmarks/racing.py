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
from pathlib import Path
from typing import Any

from benchmarks.zoo_bench import bench, demo_space, demo_watchlist, in_process_scores
from bot.contest.search import search
from bot.contest.spaces import Spaces
from bot.ledger.book import Ledger
from bot.progress import Advance
from bot.scoring.bench import BenchAtWork, ExamFacts, Marks
from bot.scoring.judge import Judge
from bot.scoring.machine import Crew
from bot.scoring.workers import Failure
from bot.shop import now
from bot.watchlist.sections import Racing
from evaluation.splits import Split
from merging.recipe import Recipe
from merging.search.evolution import Generation

CLOSE = 0.99
"""Share of the hypervolume that counts as reaching it."""


class Recalled:
    """Examiners who compute a recipe's answers once, and count the items that each search asks for."""

    def __init__(self, answers: Callable[[Recipe], Any], exam: ExamFacts) -> None:
        self._answers = answers
        self._exam = exam
        self._places = {item: place for place, item in enumerate(exam.items)}
        self.asked = 0

    def facts(self, split: Split) -> ExamFacts:
        """What the exam of the search split asks."""
        assert split is Split.SEARCH
        return self._exam

    def score(
        self, recipes: Sequence[Recipe], split: Split, part: int | None = None
    ) -> Iterator[tuple[int, Marks | Failure]]:
        """All at once, in order."""
        assert split is Split.SEARCH
        items = self._exam.items if part is None else self._exam.rounds[part].items
        for index, recipe in enumerate(recipes):
            self.asked += len(items)
            answers = self._answers(recipe)
            yield index, Marks(tuple((float(answers[self._places[item]]), None) for item in items), 1.0)

    def score_folder(self, folder: Path, split: Split) -> Marks | Failure:
        """Nothing is written here."""
        raise NotImplementedError(f"{folder} on {split}")


class Silence:
    """A narrator who says nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    @contextmanager
    def bar(self, title: str, total: int | None, *, in_bytes: bool = False) -> Iterator[Advance]:  # noqa: ARG002
        """Nothing."""

        def advance(_done: int, _words: str) -> None:
            pass

        yield advance


def generations(seed: int, racing: Racing | None, examiners: Recalled) -> tuple[Generation, ...]:
    """A search of the demo by a seed, from a ledger that knows nothing."""
    space, watchlist = demo_space(), demo_watchlist()
    settings = watchlist.search.model_copy(update={"seed": seed, "racing": racing})
    watchlist = watchlist.model_copy(update={"search": settings})
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        cycle = ledger.begin(watchlist.name, watchlist.digest, now()).id
        judge = Judge(ledger, examiners, 1)
        rivals = judge.sit([*space.singles(), *(recipe for _, recipe in space.plain_recipes())], Split.SEARCH)
        return search(watchlist, Spaces(space), judge, rivals, ledger, cycle, Silence()).generations


def reached(run: Sequence[Generation], goal: float) -> float:
    """Full scorings spent when the hypervolume first came to the goal; infinite if it never did."""
    return next((generation.spent for generation in run if generation.hypervolume >= goal), float("inf"))


def main() -> None:
    """Search with and without a race, and print what each needed."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    racing = Racing()
    answers, _ = in_process_scores()
    exam = BenchAtWork(replace(bench(Crew(1, 1, "cpu", 64)), rounds=racing.rounds)).facts(Split.SEARCH)
    examiners = Recalled(answers, exam)
    shares, of_whole = [], []
    print("seed   goal     off needs   race needs   of what off needs   of its whole budget   final off   final race")
    for seed in range(1, seeds + 1):
        off, on = generations(seed, None, examiners), generations(seed, racing, examiners)
        goal = CLOSE * off[-1].hypervolume
        needed = reached(off, goal), reached(on, goal)
        shares.append(needed[1] / needed[0])
        of_whole.append(needed[1] / off[-1].spent)
        print(
            f"{seed:4}   {goal:.4f}   {needed[0] * len(exam.items):9,.0f}   {needed[1] * len(exam.items):10,.0f}   "
            f"{shares[-1]:17.0%}   {of_whole[-1]:19.0%}   {off[-1].hypervolume:9.4f}   {on[-1].hypervolume:10.4f}   "
            f"({off[-1].scored} and {on[-1].scored} candidates)",
            flush=True,
        )
    for name, values in (("of what off needs", shares), ("of off's whole budget", of_whole)):
        print(f"share {name}: median {statistics.median(values):.0%}, mean {statistics.fmean(values):.0%}")


if __name__ == "__main__":
    main()

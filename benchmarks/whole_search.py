"""A whole search of the demo, to the same hypervolume: shoal's way against the peers' way, in wall time.

    python -m benchmarks whole_search [CANDIDATES_OF_THE_PEERS]

The peers' way is that of `benchmarks.candidate_cost`: mergekit writes each candidate, transformers loads it, lm-eval's
`simple_evaluate` scores it with tasks loaded once; the ratio is told with and without the seconds in which that
describes the machine. It is given shoal's own NSGA-II and space and the items that shoal searches by, so that only the
cost of a candidate differs. Hypervolume, above 0 in every skill, is that of a front's scores on the search split,
computed outside the clock for both. Neither side's start-up is in its time: each scores a few merges before. shoal's
clock then runs through the scoring of sources and plain merges to the first generation whose front has the peers' last
hypervolume.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.candidate_cost import OnDisk
from benchmarks.record import Figures
from benchmarks.zoo_bench import demo_space, demo_watchlist, in_process_scores, random_recipes, spec
from bot.ledger.ledger import Ledger
from bot.progress import Advance
from bot.scoring.cached import CachedEvaluator
from bot.scoring.process_pool import ProcessPool
from bot.scoring.resources import Resources
from bot.search.run import search_recipes
from bot.search.strategies.weight_merges import WeightMergeSearch
from evaluation.harness.process_state import quiet
from evaluation.splits import Split
from merging.evolution.evolve import evolve
from merging.evolution.outcomes import Generation, Outcome, SearchSettings
from merging.evolution.pareto import hypervolume
from merging.recipes.weight_merge import WeightMerge

SEED, WARM_UP, POPULATION = 1, 2, 20
CREW = Resources(2, 1, "cpu", 64)


def hypervolume_of(front: Sequence[tuple[float, ...]]) -> float:
    """Above 0 in every skill."""
    return hypervolume(front, (0.0,) * len(front[0]))


class Reached(Exception):  # noqa: N818 - good news
    """The goal is reached; says after how many seconds, and the hypervolume."""

    def __init__(self, seconds: float, volume: float) -> None:
        super().__init__(seconds, volume)
        self.seconds, self.volume = seconds, volume


class Clocked(Ledger):
    """A ledger that ends the search, by `Reached`, at the first front with the hypervolume aimed at."""

    def __init__(self, path: Path, goal: float) -> None:
        super().__init__(path)
        self.started = time.monotonic()
        self.goal = goal
        self.volume = 0.0

    def record_front(self, cycle: str, generation: int, members: Sequence[tuple[str, tuple[float, ...]]]) -> None:
        """As the ledger does, with a look at the goal and the clock."""
        super().record_front(cycle, generation, members)
        self.volume = hypervolume_of([scores for _, scores in members])
        if self.volume >= self.goal:
            raise Reached(time.monotonic() - self.started, self.volume)


class Silence:
    """A narrator who says nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    @contextmanager
    def bar(self, title: str, total: int | None, **_: object) -> Iterator[Advance]:  # noqa: ARG002
        """Nothing."""
        yield lambda _done, _words: None


def peers(candidates: int, truth: Callable[[WeightMerge], tuple[float, ...]]) -> tuple[float, float, float]:
    """Seconds of a search by the peers' way, those in which it described the machine, its last front's hypervolume."""
    score = OnDisk(spec(CREW))
    score(random_recipes(1, WARM_UP)[0])
    score.report_seconds = 0.0
    seconds, generations = 0.0, list[Generation]()

    def evaluate(recipes: Sequence[WeightMerge]) -> list[Outcome]:
        nonlocal seconds
        started = time.monotonic()
        outcomes = [Outcome(score(recipe), None, 0.0) for recipe in recipes]
        seconds += time.monotonic() - started
        return outcomes

    settings = SearchSettings(POPULATION, candidates, None, SEED)
    evolve(demo_space(), settings, evaluate, objectives=3, on_generation=generations.append)
    return seconds, score.report_seconds, hypervolume_of([truth(one.recipe) for one in generations[-1].front])


def shoal(goal: float) -> tuple[float, float]:
    """Seconds until shoal's front has a hypervolume, and that hypervolume."""
    space, watchlist = demo_space(), demo_watchlist()
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPool(replace(spec(CREW), rounds=watchlist.rounds)) as workers,
    ):
        deque(workers.evaluate(random_recipes(2 * CREW.workers, WARM_UP), Split.SEARCH), maxlen=0)
        ledger = Clocked(Path(folder) / "ledger.sqlite", goal)
        cycle = ledger.begin(watchlist.name, watchlist.digest, datetime.now(UTC)).id
        evaluator = CachedEvaluator(ledger, workers)
        baselines = evaluator.evaluate(
            [*space.singles(), *(recipe for _, recipe in space.plain_recipes())], Split.SEARCH
        )
        try:
            search_recipes(watchlist, WeightMergeSearch(space), evaluator, baselines, ledger, cycle, Silence())
        except Reached as reached:
            return reached.seconds, reached.volume
    sys.exit(f"shoal came to {ledger.volume:.4f}, short of {goal:.4f}")


def main() -> Figures:
    """Run both and print the ratio."""
    candidates = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    answers, tasks = in_process_scores()

    def truth(recipe: WeightMerge) -> tuple[float, ...]:
        row = answers(recipe)
        return tuple(float(row[tasks == task].mean()) for task in range(int(tasks.max()) + 1))

    with quiet():
        theirs, report, goal = peers(candidates, truth)
        ours, volume = shoal(goal)
    print(f"peers' way: {candidates} candidates in {theirs:.1f} s, hypervolume {goal:.4f}")
    print(f"            {report:.1f} s of these describe the machine")
    print(f"shoal:      hypervolume {volume:.4f} after {ours:.1f} s")
    print(f"ratio:      {theirs / ours:.1f}, without the descriptions {(theirs - report) / ours:.1f}")
    peer = {"candidates": candidates, "seconds": theirs, "describing_the_machine_s": report, "hypervolume": goal}
    return {"peers": peer, "shoal": {"seconds": ours, "hypervolume": volume}}


if __name__ == "__main__":
    main()

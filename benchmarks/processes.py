"""Candidates per minute of the demo by crew: processes against threads on the same cores.

    python -m benchmarks processes [CANDIDATES]

Claim: two workers of one thread each score more candidates than one worker of two threads.
"""

from __future__ import annotations

import sys
import time

from benchmarks.record import Figures
from benchmarks.zoo_bench import random_recipes, spec
from bot.scoring.evaluator import Failure
from bot.scoring.process_pool import ProcessPool
from bot.scoring.resources import Resources
from evaluation.splits import Split

CREWS = ((1, 1), (1, 2), (2, 1))
"""(workers, threads each)."""


def candidates_per_minute(workers: int, threads: int, candidates: int) -> float:
    """Rate of a crew once it is up: starting processes and writing the exam are not counted."""
    with ProcessPool(spec(Resources(workers, threads, "cpu", 64))) as resources:
        list(resources.evaluate(random_recipes(2 * workers, seed=1), Split.SEARCH))  # every worker writes its exam
        started = time.monotonic()
        answers = [answer for _, answer in resources.evaluate(random_recipes(candidates, seed=2), Split.SEARCH)]
        seconds = time.monotonic() - started
    failed = [answer for answer in answers if isinstance(answer, Failure)]
    if failed:
        raise SystemExit(f"{len(failed)} candidates failed: {failed[0].reason}")
    return 60 * candidates / seconds


def main() -> Figures:
    """Measure every crew and print the rates and their ratio."""
    candidates = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    rates = {resources: candidates_per_minute(*resources, candidates) for resources in CREWS}
    for (workers, threads), rate in rates.items():
        print(f"{workers} workers × {threads} threads: {rate:6.0f} candidates per minute")
    print(f"2 × 1 against 1 × 2: {rates[2, 1] / rates[1, 2]:.2f} times as many")
    return {"candidates_per_minute": {f"{workers} × {threads}": rate for (workers, threads), rate in rates.items()}}


if __name__ == "__main__":
    main()

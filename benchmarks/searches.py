"""Searches of merges on several landscapes: the bot's own beside CMA-ES and chance.

    python -m benchmarks searches [--seeds N] [--budget N] [--landscapes …] [--arms …] [--zoos FOLDER] [--jobs N]

Three landscapes are merges of tiny models, scored exactly: the demo's two specialists (12 genes), two of six layers
(16), and four specialists whose skills are in each other's way (32). They are trained once, into `--zoos`, and every
score is kept there, so that what one arm has scored costs the next one nothing. The fourth is a formula of 104 genes.

Every arm has the same budget in full scorings of a candidate, those of the sources and plain merges included; a race
spends a part of one on each of more candidates. After some of it the hypervolume of an arm's front, above 0 in every
skill, tells what it has found: by the scores of the search split, by those of the same front on items that no search
has seen, and there of the front that the bot chooses by a model of the scores (`shrunken`). Intervals are at 95 %,
Student's t over the seeds; those of differences are of the differences to `plain` on the same seed. The goal is 99 % of
the median hypervolume of `plain` with the whole budget. An arm's own seconds are the processor time that it takes
besides scoring; `share_of_scoring` is what they are of the time that the same budget takes at 0.1 billion parameters,
by the results of `benchmarks.rounds`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from benchmarks.landscapes.contestants import ARMS, PLAIN, RACED
from benchmarks.landscapes.trials import (
    LANDSCAPES,
    Trial,
    by_name,
    checkpoints,
    open_landscape,
    print_summary,
    run_trials,
    summarise,
)
from benchmarks.landscapes.zoos import FOLDER, ZOOS
from benchmarks.racing import few_shot_costs
from benchmarks.record import Figures
from bot.watchlist.sections import ROUNDS


def main() -> Figures:
    """Run the arms that do not race on every landscape and seed, print the tables, and return their figures."""
    return compare("searches", [arm for arm in ARMS if arm not in RACED], LANDSCAPES, seeds=10)


def compare(benchmark: str, arms: Sequence[str], landscapes: Sequence[str], seeds: int) -> Figures:
    """Run arms on landscapes as the command line says; the arguments have what it does without."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {benchmark}")
    parser.add_argument(
        "--seeds", type=int, default=seeds, help="searches of each arm, at least 2 (default %(default)s)"
    )
    parser.add_argument("--budget", type=int, default=200, help="evaluations of a search (default 200)")
    parser.add_argument("--landscapes", nargs="+", choices=LANDSCAPES, default=landscapes)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=arms, help=f"{PLAIN} runs in any case")
    parser.add_argument("--zoos", type=Path, default=FOLDER, help="folder of zoos and scores")
    parser.add_argument("--jobs", type=int, default=2, help="searches that run at the same time (default 2)")
    asked = parser.parse_args()
    if asked.seeds < 2:
        parser.error(f"--seeds: got {asked.seeds}: intervals need at least 2")
    trials = [
        Trial(landscape, arm, arm, seed, asked.budget, asked.zoos)
        for landscape, arm in product(asked.landscapes, dict.fromkeys((PLAIN, *asked.arms)))
        for seed in range(1, asked.seeds + 1)
        if landscape in ZOOS or arm not in RACED
    ]
    found = run_trials(trials, asked.jobs)
    figures = []
    for landscape in asked.landscapes:
        rows = summarise(by_name(found, landscape), PLAIN, asked.budget)
        print_summary(landscape, rows)
        for row in rows:
            row["share_of_scoring"] = round(row["own_seconds"] / (asked.budget * few_shot_costs(ROUNDS).whole), 6)
        genes = len(open_landscape(landscape, asked.zoos).space.levels)
        figures.append({"landscape": landscape, "genes": genes, "arms": rows})
    reached = checkpoints(asked.budget)
    return {"seeds": asked.seeds, "budget": asked.budget, "checkpoints": reached, "landscapes": figures}


if __name__ == "__main__":
    main()

"""Do a card's numbers hold? Simulated cycles with known truth, judged by the bot's own gate, choice and card code.

    python -m benchmarks coverage [CYCLES]

Claims: 93 to 97 of 100 of a card's 95 % intervals, of scores and of differences to rivals, hold the truth; where no
merge is better than its strongest rival, at most 5 of 100 cycles publish one; and at most 5 of 100 cards claim
anything that is not true. Beside them stands by how much the best search scores are too high, and how often their
intervals would have held. `benchmarks.simulated_cycles` says how models are simulated. 200 cycles of each kind take
about eight minutes of one core's time.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from benchmarks.record import Figures
from benchmarks.simulated_cycles import Setting, Told, simulate

BETTER = (
    Setting("two skills, 200 candidates", 200, (200, 200, 400), 2, 0.4),
    Setting("three skills, 200 candidates", 200, (200, 200, 400), 3, 0.4),
    Setting("candidates nearly alike", 200, (200, 200, 400), 2, 0.1, 0.3, 0.65),
    Setting("unrelated models", 200, (200, 200, 400), 2, 0.4, 0.0, 0.0),
    Setting("few items", 100, (60, 80, 100), 2, 0.5),
    Setting("graded scores", 60, (60, 60, 100), 2, 0.4, graded=True),
    Setting("two tasks a skill", 100, (100, 100, 100), 2, 0.4, tasks=2),
    Setting("two metrics of the same items", 100, (100, 100, 100), 2, 0.4, tasks=2, shared=0.7),
)
NO_BETTER = (
    Setting("two skills, 200 candidates", 200, (200, 200, 400), 2, 0.0),
    Setting("four skills, front of thirty", 200, (100, 100, 100), 4, 0.0),
    Setting("one skill, front of one or few", 200, (200, 400, 400), 1, 0.0),
    Setting("candidates nearly alike", 200, (200, 200, 400), 3, 0.0, 0.3, 0.65),
    Setting("unrelated models", 200, (200, 200, 400), 2, 0.0, 0.0, 0.0),
    Setting("few items", 100, (60, 60, 100), 2, 0.0),
    Setting("graded scores", 60, (60, 60, 100), 2, 0.0, graded=True),
    Setting("two tasks a skill", 100, (100, 100, 100), 2, 0.0, tasks=2),
    Setting("two metrics of the same items", 100, (100, 100, 100), 2, 0.0, tasks=2, shared=0.7),
)


def better_line(setting: Setting, told: Sequence[Told]) -> str:
    """A line of the table of cycles in which merges may be better."""
    cards = sum(one.published for one in told)
    held = [_percent([hit for one in told for hit in hits(one)]) for hits in (lambda o: o.scores, lambda o: o.leads)]
    wrong = sum(one.wrong_cards for one in told) / max(cards, 1)
    return f"{_start(setting, told)}{cards:7}{''.join(held)}{wrong:9.1%}{_falsely(told):9.1%}{_best_of_many(told)}"


def no_better_line(setting: Setting, told: Sequence[Told]) -> str:
    """A line of the table of cycles in which no merge is better."""
    return f"{_start(setting, told)}{_falsely(told):10.1%}{_best_of_many(told)}"


def figures(setting: Setting, told: Sequence[Told]) -> Figures:
    """One kind of cycle: shares of intervals that held, of cards with a wrong claim, and of wrong publications."""
    cards = sum(one.published for one in told)
    return {
        "setting": setting.name,
        "cards": cards,
        "scores_held": _mean([hit for one in told for hit in one.scores]) if cards else None,
        "leads_held": _mean([hit for one in told for hit in one.leads]) if cards else None,
        "wrong_cards": sum(one.wrong_cards for one in told) / max(cards, 1),
        "wrong_cycles": _mean([one.falsely for one in told]),
    }


def _start(setting: Setting, told: Sequence[Told]) -> str:
    return f"{setting.name:32}{_mean([one.front for one in told]):6.1f}"


def _falsely(told: Sequence[Told]) -> float:
    return _mean([one.falsely for one in told])


def _best_of_many(told: Sequence[Told]) -> str:
    naive = [hit for one in told for hit in one.naive]
    gain = _mean([gain for one in told for gain in one.gains])
    return f"{gain:+10.3f}" + (f", held {_mean(naive):.0%}" if naive else "")


def _percent(hits: Sequence[bool]) -> str:
    """A rate with its standard error, had the hits been independent."""
    rate = _mean(hits)
    return f"{rate:9.1%} ±{math.sqrt(rate * (1 - rate) / max(len(hits), 1)):.1%}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def main() -> Figures:
    """Simulate all kinds of cycles and print the tables."""
    cycles = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with ProcessPoolExecutor() as pool:

        def simulated(setting: Setting) -> list[Told]:
            return list(pool.map(partial(simulate, setting), range(cycles), chunksize=10))

        print(f"{cycles} cycles of each kind; goals: 93 to 97 % of the intervals hold, at most 5 % are wrong\n")
        print(f"{'':32}{'':6}{'':7}{'intervals that hold':^30}{'wrong':>9}{'wrong':>9}  best of search")
        print(f"{'':32}{'front':>6}{'cards':>7}{'of scores':>15}{'of leads':>15}{'cards':>9}{'cycles':>9}  is too high")
        better: list[Figures] = []
        for setting in BETTER:
            better.append(figures(setting, found := simulated(setting)))
            print(better_line(setting, found), flush=True)
        print(f"\n{'where no merge is better':32}{'front':>6}{'published':>10}")
        no_better: list[Figures] = []
        for setting in NO_BETTER:
            no_better.append(figures(setting, found := simulated(setting)))
            print(no_better_line(setting, found), flush=True)
    return {"cycles": cycles, "better": better, "no_better": no_better}


if __name__ == "__main__":
    main()

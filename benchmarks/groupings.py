"""Which groups of tensors pay at which budget: bands of layers, modules apart, ends apart.

    python -m benchmarks groupings [--seeds N] [--budget N] [--landscapes …] [--arm ARM] [--zoos FOLDER] [--jobs N]

The same searches as `searches` runs, on the same models, with spaces of one group for all tensors of a source up to
groups for every layer's attention, for every layer's rest and for both ends. Leads are over one group on the same
seeds. What counts are scores on items that no search has seen: a finer space always holds the better merges, but a
budget may be too small to find them, and the luck of more choices too large.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

from benchmarks.landscapes.contestants import ARMS, ASSISTED
from benchmarks.landscapes.trials import (
    Trial,
    by_name,
    checkpoints,
    open_landscape,
    print_summary,
    run_trials,
    summarise,
)
from benchmarks.landscapes.zoos import FOLDER, ZOOS, open_zoo
from benchmarks.record import Figures
from bot.watchlist.sections import GroupsSection

ONE = "one group"

SHAPES: Mapping[str, Mapping[str, str]] = {
    "": {},
    "modules": {"modules": "apart"},
    "ends": {"ends": "apart"},
    "modules, ends": {"modules": "apart", "ends": "apart"},
}


def groupings(layers: int) -> Iterator[tuple[str, GroupsSection]]:
    """The groupings of a model of so many layers, each with its name."""
    for bands in sorted({1, 2, layers} if layers < 4 else {1, 2, 3, layers}):
        for shape, settings in SHAPES.items():
            name = f"{bands} band{'s' * (bands > 1)}{', ' * bool(shape)}{shape}"
            yield ONE if bands == 1 and not shape else name, GroupsSection.model_validate({"layers": bands} | settings)


def main() -> Figures:
    """Search every grouping of every zoo, print the tables, and return their figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks groupings")
    parser.add_argument("--seeds", type=int, default=5, help="searches of each grouping, at least 2 (default 5)")
    parser.add_argument("--budget", type=int, default=200, help="evaluations of a search (default 200)")
    parser.add_argument("--landscapes", nargs="+", choices=ZOOS, default=list(ZOOS))
    parser.add_argument("--arm", choices=ARMS, default=ASSISTED, help=f"how to search (default {ASSISTED})")
    parser.add_argument("--zoos", type=Path, default=FOLDER, help="folder of zoos and scores")
    parser.add_argument("--jobs", type=int, default=2, help="searches that run at the same time (default 2)")
    asked = parser.parse_args()
    if asked.seeds < 2:
        parser.error(f"--seeds: got {asked.seeds}: intervals need at least 2")
    shapes = {name: dict(groupings(open_zoo(name, asked.zoos).layers)) for name in asked.landscapes}
    trials = [
        Trial(landscape, name, asked.arm, seed, asked.budget, asked.zoos, groups)
        for landscape, seed in product(asked.landscapes, range(1, asked.seeds + 1))
        for name, groups in shapes[landscape].items()
    ]
    found = run_trials(trials, asked.jobs)
    figures = []
    for landscape in asked.landscapes:
        rows = summarise(by_name(found, landscape), ONE, asked.budget)
        for row in rows:
            groups = shapes[landscape][row["name"]]
            row["genes"] = len(open_landscape(landscape, asked.zoos, groups).space.levels)
        print_summary(landscape, rows)
        figures.append({"landscape": landscape, "groupings": rows})
    reached = checkpoints(asked.budget)
    return {"arm": asked.arm, "seeds": asked.seeds, "budget": asked.budget, "checkpoints": reached, "zoos": figures}


if __name__ == "__main__":
    main()

"""What searches find, and for how much."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from benchmarks.record import load
from benchmarks.tables.figures import points


def searches() -> list[list[str]]:
    """Searches beside each other on several landscapes."""
    return _searches_of("searches")


def searches_raced() -> list[list[str]]:
    """The same with a race."""
    return _searches_of("searches_raced")


def _searches_of(benchmark: str) -> list[list[str]]:
    found: Any = load(benchmark)
    budget, counts = found["budget"], found["checkpoints"]
    head = ["landscape", "search", *(f"at {count}" for count in counts), *(f"held out at {count}" for count in counts)]
    rows = [[*head, f"held out at {counts[-2]}, over plain at {counts[-1]}", "full scorings to the goal"]]
    for landscape, arm in ((one, arm) for one in found["landscapes"] for arm in one["arms"]):
        name = f"{landscape['landscape']}, {landscape['genes']} genes"
        keys = [f"{key}_{count}" for key in ("search", "held_out") for count in counts]
        early = arm.get(f"held_out_{counts[-2]}_lead_over_end")
        middle = median([budget + 1 if cost is None else cost for cost in arm["to_goal"]])
        told = f"{middle:.0f}" if middle <= budget else f"not in {budget}"
        cells = [_mean_and_lead(arm, key) for key in keys]
        rows.append([name, arm["name"], *cells, points(early, "+") if early else "", told])
    return rows


def shrinkage() -> list[list[str]]:
    """Fronts chosen by a model of the scores beside those of the scores themselves."""
    found: Any = load("searches")
    rows = [["landscape", "search", *(f"held out at {count}" for count in found["checkpoints"])]]
    for landscape, arm in ((one, arm) for one in found["landscapes"] for arm in one["arms"]):
        keys = [f"shrunken_{count}" for count in found["checkpoints"]]
        if keys[0] in arm:
            cells = [f"{arm[key]['mean']:.1f} ({points(arm[f'{key}_gain'], '+')})" for key in keys]
            rows.append([landscape["landscape"], arm["name"], *cells])
    return rows


def groupings() -> list[list[str]]:
    """Groups of tensors beside one group for all."""
    found: Any = load("groupings")
    rows = [["models", "groups", "genes", *(f"held out at {count}" for count in found["checkpoints"])]]
    for zoo, row in ((one, row) for one in found["zoos"] for row in one["groupings"]):
        cells = [_mean_and_lead(row, f"held_out_{count}") for count in found["checkpoints"]]
        rows.append([zoo["landscape"], row["name"], str(row["genes"]), *cells])
    return rows


def _mean_and_lead(arm: Mapping[str, Any], key: str) -> str:
    """A mean, and its lead over the row that all are compared with if it is not that itself."""
    mean, lead = f"{arm[key]['mean']:.1f}", arm.get(f"{key}_lead")
    return mean if lead is None else f"{mean} ({points(lead, '+')})"


def spaces() -> list[list[str]]:
    """Weights, paths or both on the same budget."""
    found: Any = load("spaces")
    rows = [[f"*cross*, {found['layers']} layers", "points on the report split"]]
    rows += [[name, f"{score:.1f}"] for name, score in found["baselines"].items()]
    rows += [[f"**{row['arm']}**", points(row["cross"])] for row in found["arms"]]
    without = [row for row in found["arms"] if row["without_its_scales"]["half_width"]]
    return rows + [[f"{row['arm']}: without its scales", points(row["without_its_scales"], "+")] for row in without]

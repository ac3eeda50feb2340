"""What plans announce, what the page weighs, and what kills do."""

from __future__ import annotations

from typing import Any

from benchmarks.record import load


def plan() -> list[list[str]]:
    """What a plan announces beside what the run takes."""
    found: Any = load("plan")
    rows = [["models", "", "item scores", "time", "memory"]]
    for run in found["runs"]:
        for key in ("planned", "taken"):
            took = run[key]
            figures = [f"{took['item_scores']:,}", f"{took['seconds']:.0f} s", f"{took['memory'] / 1e9:.2f} GB"]
            rows.append([run["models"], key, *figures])
    return rows


def page() -> list[list[str]]:
    """What the page weighs, and what it costs a search."""
    found: Any = load("page")
    rows = [["", "requests at first load", "bytes", "axe violations"]]
    rows += [
        [one["page"], str(one["requests"]), f"{one['bytes']:,}", str(one["axe_violations"])] for one in found["pages"]
    ]
    cost = f"{found['share_of_cpu']:.2%} of a cycle's processor time, {found['page_cpu_per_second']:.2%} of a core"
    return [*rows, [f"two open tabs: {cost}", "", "", ""]]


def crashes() -> list[list[str]]:
    """Kills of the service while decisions are carried out."""
    found: Any = load("crashes")
    kills = found["kills"]
    faults = sum(bool(kill["faults"]) for kill in kills)
    head = ["kill -9 at random moments", "before the last answer", "published twice, or a decision lost"]
    return [head, [str(len(kills)), str(sum(kill["answered"] < 2 for kill in kills)), str(faults)]]

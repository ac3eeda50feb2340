"""What searches spend with a race, after earlier cycles, and on chosen sources."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.record import load
from benchmarks.tables.figures import volume

_SHARES = ("needed", "all")


def racing() -> list[list[str]]:
    """What a race spends to come within 1 % of full scoring's hypervolume."""
    head = ["models", "counted", "of what full scoring needs for it", "of full scoring's whole budget"]
    rows = []
    for name, zoo in (("racing", "the demo's"), ("racing_other", "another seed's")):
        try:
            seeds: Any = load(name)["seeds"]
        except FileNotFoundError:
            rows.append([zoo, "not measured in this version yet", f"`python -m benchmarks {name} --save`", ""])
            continue
        for unit, counted in (("items", "item scores"), ("seconds", "processor seconds")):
            shares = [
                [seed[f"{unit}_of_{share}"] for seed in seeds if f"{unit}_of_{share}" in seed] for share in _SHARES
            ]
            if shares[0] or unit == "items":
                rows.append([_searches(zoo, len(seeds), len(shares[0])), counted, *map(_median_and_range, shares)])
    return [head, *rows]


def _searches(zoo: str, searches: int, reached: int) -> str:
    """A row's name: the models, and how many of the searches came to the goal."""
    return f"{zoo}, searches: {searches}" if reached == searches else f"{zoo}, searches: {reached} of {searches}"


def _median_and_range(shares: Sequence[float]) -> str:
    if not shares:
        return "never reached"
    return f"{median(shares):.0%} ({min(shares):.0%} to {max(shares):.0%})"


def warm_start() -> list[list[str]]:
    """What a search needs that begins with what an earlier cycle found."""
    found: Any = load("warm_start")
    rows = [["new in the second cycle", "searches that came to the goal", "share of the item scores, mean", "range"]]
    for row in found["changes"]:
        counts = f"{row['reached']} of {row['searches']}"
        shares = ["", ""]
        if row["reached"]:
            shares = [f"{row['mean']:.0%} ± {row['half_width']:.0%}", f"{row['lowest']:.0%} to {row['highest']:.0%}"]
        rows.append([row["change"], counts, *shares])
    return rows


def audition() -> list[list[str]]:
    """Sources chosen by an audition beside other choices, on the same budget."""
    found: Any = load("audition")
    head = ["base", "sources", "item scores", "hypervolume, search split", "validation split"]
    rows = [[*head, "lead of the audition there"]]
    for base, arm in ((zoo["base"], arm) for zoo in found["zoos"] for arm in zoo["arms"]):
        volumes = [volume(arm[split]) for split in ("search", "validation")]
        lead = arm["validation"]["lead_of_the_audition"]
        rows.append([base, arm["arm"], f"{arm['item_scores']:,}", *volumes, volume(lead, "+") if lead else ""])
    return rows

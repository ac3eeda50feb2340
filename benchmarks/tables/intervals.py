"""How often what cards say holds."""

from __future__ import annotations

from typing import Any

from benchmarks.record import load


def coverage() -> list[list[str]]:
    """Intervals and the gate on simulated cycles with known truth."""
    found: Any = load("coverage")
    rows = [["simulated cycles", "cards", "score intervals that hold", "difference intervals that hold", "wrong cards"]]
    for row in found["better"]:
        held = [f"{row[key]:.1%}" for key in ("scores_held", "leads_held")]
        rows.append([row["setting"], str(row["cards"]), *held, f"{row['wrong_cards']:.1%}"])
    return rows


def false_publications() -> list[list[str]]:
    """How often a cycle publishes where no merge is better."""
    found: Any = load("coverage")
    rows = [["simulated cycles in which no merge is better", "that publish one"]]
    return rows + [[row["setting"], f"{row['wrong_cycles']:.1%}"] for row in found["no_better"]]

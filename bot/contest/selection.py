"""Which of the members that passed the gate are released, and under what name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bot.contest.findings import Ruling
from merging.pareto import extremes_and_knee, nondominated

BALANCED = "balanced"
"""The role of the front's knee."""


@dataclass(frozen=True)
class Chosen:
    """A front member to release: the role that it plays among the releases, and its recipe's digest."""

    role: str
    recipe: str


def choose(verdicts: Sequence[Ruling], skills: Sequence[str], limit: int) -> tuple[Chosen, ...]:
    """At most `limit` of those that passed: the knee of their front on the validation split, then its extremes."""
    passed = [verdict for verdict in verdicts if verdict.passed]
    front = [passed[index] for index in nondominated([verdict.scores for verdict in passed])]
    points = [verdict.scores for verdict in front]
    chosen = extremes_and_knee(points, limit)
    roles = _roles(points, chosen, skills)
    return tuple(Chosen(role, front[index].recipe) for role, index in zip(roles, chosen, strict=True))


def roles(skills: Sequence[str]) -> tuple[str, ...]:
    """Every role that a release can have."""
    return (BALANCED, *(f"best-{skill}" for skill in skills))


def repo_name(pattern: str, watchlist: str, number: int, role: str, prefix: str | None) -> str:
    """The release's name on the Hub; some licences ask for a prefix."""
    name = pattern.format(watchlist=watchlist, cycle=number, role=role)
    if prefix and not name.lower().startswith(prefix.lower()):
        name = f"{prefix}-{name}"
    # A slug may end up beside an empty part; the Hub allows no doubled or outer separators.
    return re.sub(r"([-.])[-.]+", r"\1", name).strip("-.")


def _roles(points: Sequence[Sequence[float]], chosen: Sequence[int], skills: Sequence[str]) -> list[str]:
    """The first is the knee; each further one is the best in the first skill that no earlier one stands for."""
    if len(skills) == 1:
        return [f"best-{skills[0]}"] * len(chosen)
    roles = [BALANCED] * len(chosen[:1])
    for index in chosen[1:]:
        leading = [
            skill
            for place, skill in enumerate(skills)
            if points[index][place] == max(point[place] for point in points) and f"best-{skill}" not in roles
        ]
        roles.append(f"best-{leading[0]}")
    return roles

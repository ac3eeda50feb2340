"""Chooses the releases among the members that passed the gate, and names their repos."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.search.results import GateResult
from merging.evolution.pareto import extremes_and_knee, nondominated

BALANCED = "balanced"
"""The role of the front's knee."""

SMALLEST = "smallest"
"""The role of the member with the fewest layers, where fewer are an objective."""

FASTEST = "fastest"
"""The role of the member whose pictures cost least, in steps and size, where less of them is an objective."""

BEST, TOWARDS = "best", "towards"
"""Prefixes of the role of the member with the highest score in a skill: `best-math` if no baseline has a higher one,
else `towards-math`, which only says where on the front it is."""


@dataclass(frozen=True)
class Chosen:
    """A front member to release: its role among the releases, and the digest of its recipe."""

    role: str
    recipe: str


def choose_releases(
    gate_results: Sequence[GateResult],
    skills: Sequence[str],
    limit: int,
    costs: Mapping[str, float] | None = None,
    cheapest: str = SMALLEST,
) -> tuple[Chosen, ...]:
    """Choose at most `limit` members that passed: the knee of their front on the validation split, then its extremes.

    costs: by recipe digest, where less is an objective; then what costs least is the first extreme, with the role
    `cheapest`.
    """
    passed = [result for result in gate_results if result.passed]
    points = [one.scores if costs is None else (-costs[one.recipe], *one.scores) for one in passed]
    front = nondominated(points)
    best = [points[index] for index in front]
    chosen = extremes_and_knee(best, limit)
    leads = _leads(best, chosen, len(skills) + (costs is not None))
    members = [passed[front[index]] for index in chosen]
    named = [None, *skills] if costs is not None else list(skills)
    return tuple(
        Chosen(BALANCED if lead is None else _name_role(member, named[lead], cheapest), member.recipe)
        for member, lead in zip(members, leads, strict=True)
    )


def list_roles(skills: Sequence[str], cheapest: str | None) -> tuple[str, ...]:
    """Every role that a release can have. cheapest: that of what costs least, where less is an objective."""
    extremes = [f"{prefix}-{skill}" for skill in skills for prefix in (BEST, TOWARDS)]
    return (BALANCED, *((cheapest,) if cheapest else ()), *extremes)


def make_repo_name(pattern: str, watchlist: str, number: int, role: str, prefix: str | None) -> str:
    """The release's name on the Hub; some licences ask for a prefix."""
    name = pattern.format(watchlist=watchlist, cycle=number, role=role)
    if prefix and not name.lower().startswith(prefix.lower()):
        name = f"{prefix}-{name}"
    # A placeholder may be filled with nothing, and the Hub allows no doubled or outer separators.
    return re.sub(r"([-.])[-.]+", r"\1", name).strip("-.")


def _leads(points: Sequence[Sequence[float]], chosen: Sequence[int], objectives: int) -> list[int | None]:
    """The objective for which each chosen member is released: None for the first, which is the most balanced, then one
    in which it is the best and no earlier one was. With one objective, all for that.
    """
    if objectives == 1:
        return [0] * len(chosen)
    leads: list[int | None] = [None] * len(chosen[:1])
    for index in chosen[1:]:
        leading = [
            place
            for place in range(objectives)
            if points[index][place] == max(point[place] for point in points) and place not in leads
        ]
        leads.append(leading[0])
    return leads


def _name_role(member: GateResult, skill: str | None, cheapest: str) -> str:
    """The role of the member that is best in a skill, or costs least (None), by what is true of it."""
    if skill is None:
        return cheapest
    behind = any(test.difference < 0 for test in member.comparisons if test.skill == skill)
    return f"{TOWARDS if behind else BEST}-{skill}"

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


@dataclass(frozen=True)
class Chosen:
    """A front member to release: its role among the releases, and the digest of its recipe."""

    role: str
    recipe: str


def choose_releases(
    gate_results: Sequence[GateResult], skills: Sequence[str], limit: int, depths: Mapping[str, int] | None = None
) -> tuple[Chosen, ...]:
    """Choose at most `limit` members that passed: the knee of their front on the validation split, then its extremes.

    depths: layers by recipe digest, where fewer layers are an objective; then the smallest is the first extreme.
    """
    passed = [result for result in gate_results if result.passed]
    points = [one.scores if depths is None else (-depths[one.recipe], *one.scores) for one in passed]
    front = nondominated(points)
    best = [points[index] for index in front]
    chosen = extremes_and_knee(best, limit)
    roles = _roles(best, chosen, _extremes(skills, depths is not None))
    return tuple(Chosen(role, passed[front[index]].recipe) for role, index in zip(roles, chosen, strict=True))


def list_roles(skills: Sequence[str], smaller: bool) -> tuple[str, ...]:
    """Every role that a release can have. smaller: whether fewer layers are an objective."""
    return (BALANCED, *_extremes(skills, smaller))


def make_repo_name(pattern: str, watchlist: str, number: int, role: str, prefix: str | None) -> str:
    """The release's name on the Hub; some licences ask for a prefix."""
    name = pattern.format(watchlist=watchlist, cycle=number, role=role)
    if prefix and not name.lower().startswith(prefix.lower()):
        name = f"{prefix}-{name}"
    # A placeholder may be filled with nothing, and the Hub allows no doubled or outer separators.
    return re.sub(r"([-.])[-.]+", r"\1", name).strip("-.")


def _extremes(skills: Sequence[str], smaller: bool) -> tuple[str, ...]:
    """The role of the best in each objective, in the order of the objectives."""
    return (*((SMALLEST,) if smaller else ()), *(f"best-{skill}" for skill in skills))


def _roles(points: Sequence[Sequence[float]], chosen: Sequence[int], extremes: Sequence[str]) -> list[str]:
    """The roles of members: the first is the knee, each further one the best in an objective without a role yet."""
    if len(extremes) == 1:
        return [*extremes] * len(chosen)
    roles = [BALANCED] * len(chosen[:1])
    for index in chosen[1:]:
        leading = [
            role
            for place, role in enumerate(extremes)
            if points[index][place] == max(point[place] for point in points) and role not in roles
        ]
        roles.append(leading[0])
    return roles

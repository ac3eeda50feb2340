"""Which of the members that passed the gate are released, and under what name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.search.results import GateResult
from merging.evolution.pareto import extremes_and_knee, nondominated

BALANCED = "balanced"
"""The role of the front's knee."""

SMALLEST = "smallest"
"""The role of the member with the fewest layers, where these are an objective of their own."""


@dataclass(frozen=True)
class Chosen:
    """A front member to release: the role that it plays among the releases, and its recipe's digest."""

    role: str
    recipe: str


def choose(
    verdicts: Sequence[GateResult], skills: Sequence[str], limit: int, depths: Mapping[str, int] | None = None
) -> tuple[Chosen, ...]:
    """At most `limit` of those that passed: the knee of their front on the validation split, then its extremes.

    depths: layers of each recipe, where fewer are an objective beside the skills; then the first extreme is of these.
    """
    passed = [verdict for verdict in verdicts if verdict.passed]
    points = [one.scores if depths is None else (-depths[one.recipe], *one.scores) for one in passed]
    front = nondominated(points)
    best = [points[index] for index in front]
    chosen = extremes_and_knee(best, limit)
    roles = _roles(best, chosen, _extremes(skills, depths is not None))
    return tuple(Chosen(role, passed[front[index]].recipe) for role, index in zip(roles, chosen, strict=True))


def roles(skills: Sequence[str], smaller: bool) -> tuple[str, ...]:
    """Every role that a release can have. smaller: whether fewer layers are an objective."""
    return (BALANCED, *_extremes(skills, smaller))


def repo_name(pattern: str, watchlist: str, number: int, role: str, prefix: str | None) -> str:
    """The release's name on the Hub; some licences ask for a prefix."""
    name = pattern.format(watchlist=watchlist, cycle=number, role=role)
    if prefix and not name.lower().startswith(prefix.lower()):
        name = f"{prefix}-{name}"
    # A slug may end up beside an empty part; the Hub allows no doubled or outer separators.
    return re.sub(r"([-.])[-.]+", r"\1", name).strip("-.")


def _extremes(skills: Sequence[str], smaller: bool) -> tuple[str, ...]:
    """The roles of those that are best in one objective, in the order of the objectives."""
    return (*((SMALLEST,) if smaller else ()), *(f"best-{skill}" for skill in skills))


def _roles(points: Sequence[Sequence[float]], chosen: Sequence[int], extremes: Sequence[str]) -> list[str]:
    """The first is the knee; each further one is the best in the first objective that no earlier one stands for."""
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

"""The audition: which sources enter the pool where more fit than may, by their scores on a part of the search split.

A source adds something to others if for each of them there is a skill in which it is better, by the paired tests of the
gate: exactly then it enlarges the volume that they dominate. Those that add something are chosen one after the other,
the one first that adds most. Places stay empty where nobody adds anything, because a source without a skill of its own
costs a search more than it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from bot.search.comparisons import SkillValues, compare_with_each, find_best_skills, p_value_of_all
from bot.search.results import Comparison
from evaluation.scores import weighted_mean
from merging.evolution.pareto import hypervolume

CONFIDENCE = 0.9
"""Confidence of the test that a source adds something; below the gate's, because an error only costs a place."""

LEAST_SOURCES = 2
"""A merge needs as many."""

_DIGITS = 9
"""Decimals of a gain: the last bits of a sum must not decide between equal ones."""

FindConflict = Callable[[Sequence[str], str], str | None]
"""Given the names of those chosen so far and another name: why it cannot be merged with them, None if it can."""


@dataclass(frozen=True, eq=False)
class Contender:
    """A model that has answered the audition's items. name: its repo. values: of its items, by skill."""

    name: str
    values: SkillValues

    @cached_property
    def point(self) -> tuple[float, ...]:
        """Its scores, skill by skill."""
        return tuple(weighted_mean(strata) for strata in self.values.values())

    @cached_property
    def items(self) -> int:
        """Number of items that it has answered."""
        return len({item for strata in self.values.values() for stratum in strata for item in stratum.items})

    def describe(self) -> str:
        """Its scores in a few words."""
        scores = ", ".join(f"{skill} {score:.2f}" for skill, score in zip(self.values, self.point, strict=True))
        return f"{scores} on {self.items} items"


@dataclass(frozen=True)
class Placement:
    """Whether a contender was chosen, and why, in one line."""

    name: str
    chosen: bool
    reason: str


def choose_sources(
    contenders: Sequence[Contender],
    kept: Sequence[Contender],
    places: int,
    least: int = LEAST_SOURCES,
    find_conflict: FindConflict = lambda _, __: None,
) -> tuple[Placement, ...]:
    """Choose contenders that add to those kept and to each other; a placement for each, in their order.

    contenders: best first by rank, which decides between equals. kept: the base, and sources that are in anyway.
    places: most contenders to choose. least: fewest; where fewer add anything for certain, the best ones by their bare
    scores fill up. Where all scores are equal, the choice is by rank.
    """
    field = _Field([*kept, *contenders])
    chosen: dict[Contender, str] = {}

    def find_reason_against(one: Contender) -> str | None:
        return find_conflict([other.name for other in chosen], one.name)

    def fill(limit: int, reason: str, may_enter: Callable[[Contender], bool]) -> None:
        """Choose those that add most, one after the other, as long as one may enter."""
        while len(chosen) < limit:
            fitting = [one for one in contenders if one not in chosen and find_reason_against(one) is None]
            entering = [one for one in fitting if may_enter(one)]
            if not entering:
                break
            rivals = [*kept, *chosen]
            # The first of equals. Of those that add nothing, the one that covers most by itself is the least harmful.
            best = max(entering, key=lambda one: (field.gain(one, rivals), field.gain(one, ())))
            chosen[best] = f"{reason} ({best.describe()})"

    if field.is_level:
        fill(places, "chosen by rank, because the audition tells no models apart", lambda _: True)
    fill(places, "adds most in the audition", lambda one: field.adds(one, [*kept, *chosen]))
    fill(least, f"adds nothing for certain, but a merge needs {LEAST_SOURCES} sources", lambda _: True)

    def place(one: Contender) -> Placement:
        if one in chosen:
            return Placement(one.name, True, chosen[one])
        return Placement(one.name, False, find_reason_against(one) or field.explain(one, [*kept, *chosen]))

    return tuple(map(place, contenders))


class _Field:
    """All models of an audition."""

    def __init__(self, models: Sequence[Contender]) -> None:
        columns = list(zip(*(one.point for one in models), strict=True))
        spreads = [max(column) - min(column) for column in columns]
        self.is_level = not any(spreads)
        # As far below the lowest score as the highest is above it. Nearer, a specialist that is the worst at something
        # would add next to nothing (Ishibuchi et al. 2018, "How to specify a reference point in hypervolume
        # calculation for fair performance comparison": the fewer points, the farther).
        self._reference = [min(column) - (spread or 1) for column, spread in zip(columns, spreads, strict=True)]
        self._compared: dict[tuple[str, str], tuple[Comparison, ...]] = {}

    def gain(self, one: Contender, others: Sequence[Contender]) -> float:
        """The hypervolume that a model adds to that of others."""
        points = [other.point for other in others]
        return round(hypervolume([*points, one.point], self._reference) - hypervolume(points, self._reference), _DIGITS)

    def adds(self, one: Contender, others: Sequence[Contender]) -> bool:
        """Whether a model clearly adds something to others."""
        comparisons = self._compare(one, others)
        return not comparisons or p_value_of_all(comparisons, len(one.values)) <= 1 - CONFIDENCE

    def explain(self, one: Contender, others: Sequence[Contender]) -> str:
        """Why a model was not chosen beside others."""
        if self.adds(one, others):
            return f"adds less than those chosen, and max_sources leaves no place ({one.describe()})"
        nearest = max(find_best_skills(self._compare(one, others)), key=lambda best: best.p_value)
        (rival,) = (other for other in others if other.name == nearest.baseline)
        pairs = zip(one.values, one.point, rival.point, strict=True)
        scores = ", ".join(f"{skill} {own:.2f} against {theirs:.2f}" for skill, own, theirs in pairs)
        chance = "; where it is better, that may be chance" if nearest.difference > 0 else ""
        return f"adds nothing to {rival.name} ({scores} on {one.items} items{chance})"

    def _compare(self, one: Contender, others: Sequence[Contender]) -> list[Comparison]:
        found: list[Comparison] = []
        for other in others:
            pair = one.name, other.name
            if pair not in self._compared:
                self._compared[pair] = compare_with_each(one.values, [(other.name, other.values)])
            found += self._compared[pair]
        return found

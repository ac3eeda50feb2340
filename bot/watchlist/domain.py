"""Values of a watchlist that belong to no package below the bot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from evaluation.skills import Skill


class Reference(StrEnum):
    """The model that a guard compares a merge with."""

    BASE = "base"
    BEST_SOURCE = "best_source"


@dataclass(frozen=True)
class Guard:
    """A skill that a merge must keep, though the search does not optimise it.

    max_drop: most that its score may be below the reference's.
    """

    skill: Skill
    max_drop: float
    reference: Reference


@dataclass(frozen=True)
class GateSettings:
    """The gate's requirements for a merge.

    confidence: confidence level of the test that the merge is better.
    minimum: skill name to the lowest score allowed.
    max_degenerate: largest share of degenerate answers allowed in any skill.
    """

    confidence: float
    minimum: Mapping[str, float]
    max_degenerate: float

"""Values of a watchlist that belong to no package below the bot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class GateSettings:
    """The gate's requirements for a merge.

    confidence: confidence level of the test that the merge is better.
    minimum: skill name to the lowest score allowed.
    max_degenerate: largest share of empty or looping answers allowed in any skill.
    """

    confidence: float
    minimum: Mapping[str, float]
    max_degenerate: float

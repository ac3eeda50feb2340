"""What a contest came to, as frozen values that the ledger keeps: quick to import, for `show` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from evaluation.statistics.intervals import Interval


class BaselineKind(StrEnum):
    """What a rival is, beside the merges that were bred."""

    PLAIN = "plain merge"
    SOURCE = "source"
    BASE = "base"


@dataclass(frozen=True)
class SearchSummary:
    """What a search came to, as `show` and the card tell it.

    generations: (recipes scored so far, hypervolume) after each. points: skill scores of all that were scored
    without failure. front: recipe digests. seconds: wall time of scoring. reasons: (why candidates failed, how many).
    candidates: all that were tried. fully_scored: those of them that answered every item of the search split;
    item_scores: what all answered (both 0 in ledgers from before they were counted).
    """

    candidates: int
    failed: int
    generations: tuple[tuple[int, float], ...]
    points: tuple[tuple[float, ...], ...]
    front: tuple[str, ...]
    seconds: float
    stopped: str
    reasons: tuple[tuple[str, int], ...]
    fully_scored: int = 0
    item_scores: int = 0


@dataclass(frozen=True)
class Comparison:
    """A merge against one rival in one skill: difference with its interval, and the p-value before any correction."""

    baseline: str
    skill: str
    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class GateResult:
    """The gate's answer for one front member, with its validation scores (in the skills' order).

    alpha: what its p-value was held against, by Holm's method.
    """

    recipe: str
    scores: tuple[float, ...]
    passed: bool
    reason: str
    p_value: float
    alpha: float
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class MeasuredRow:
    """A release (by its role) or a rival, with its scores on the report split, one per skill."""

    name: str
    kind: str
    scores: tuple[Interval, ...]

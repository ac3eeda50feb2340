"""The results of search and gate, as frozen values that the ledger keeps. Quick to import, because `show` reads them.

A renamed field needs a migration of the ledger (`bot.ledger.migration`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from evaluation.statistics.values import Interval


class BaselineKind(StrEnum):
    """The kind of a baseline."""

    PLAIN = "plain merge"
    SOURCE = "source"
    BASE = "base"
    RELEASE = "release"
    """Another release of the same cycle, which a card may show beside its own."""


@dataclass(frozen=True)
class SearchSummary:
    """A search in numbers.

    candidates: number of recipes tried.
    generations: (recipes scored so far, hypervolume) after each generation.
    points: skill scores of every candidate that answered the whole search split without failure.
    front: digests of recipes.
    seconds: wall time of scoring.
    reasons: (reason of a failure, number of candidates that failed for it).
    fully_scored: number of candidates that answered every item of the search split.
    item_scores: number of items that all candidates answered.
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
    """A merge against one baseline in one skill.

    difference: paired difference of the scores, with its 95 % limits.
    p_value: one-sided p-value that the merge is not better, before any correction.
    """

    baseline: str
    skill: str
    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class GuardResult:
    """A merge beside the reference of one guard, on one split.

    guard: the guard's name. reference: name of the model compared with. max_drop: most that the score may be below the
    reference's. difference: paired difference to the reference, with its 95 % limits. limit: its one-sided lower limit
    at the gate's confidence.
    """

    guard: str
    reference: str
    max_drop: float
    score: Interval
    reference_score: Interval
    difference: Interval
    limit: float

    @property
    def is_kept(self) -> bool:
        """Whether the items show that the merge lost less than it may."""
        return self.limit > -self.max_drop


@dataclass(frozen=True)
class GateResult:
    """The gate's decision on one front member.

    recipe: digest of its recipe. scores: validation scores in the order of the skills; empty if it was not scored.
    p_value: p-value after the corrections for baselines and skills. alpha: its threshold in Holm's method. guards: its
    results on the validation split, in the watchlist's order; empty if it was not scored.
    """

    recipe: str
    scores: tuple[float, ...]
    passed: bool
    reason: str
    p_value: float
    alpha: float
    comparisons: tuple[Comparison, ...]
    guards: tuple[GuardResult, ...] = ()


@dataclass(frozen=True)
class MeasuredRow:
    """The report scores of a release or a baseline, one per skill.

    name: the release's role or the baseline's name. kind: "release", or the kind of baseline. guards: a release's
    results on the report split.
    """

    name: str
    kind: str
    scores: tuple[Interval, ...]
    guards: tuple[GuardResult, ...] = ()

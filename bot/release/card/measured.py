"""Models measured on the same items: their scores and the leads between them, as a card tells them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.release.card.facts import AnswerCounts, BaselineScores, Estimate, Lead
from bot.scoring.cached import Evaluation
from bot.search.results import BaselineKind
from evaluation.answers.degenerate import CUT_OFF, EMPTY, LOOPING, NO_LANGUAGE, OTHER_LANGUAGE
from evaluation.scores import strata
from evaluation.skills import Skill
from evaluation.statistics.intervals import Interval, Stratum, skill_interval
from evaluation.statistics.paired import skill_paired_better, skill_paired_p_value

SEED = 0
"""Of the bootstrap: the same scores give the same intervals."""


@dataclass(frozen=True)
class Measured:
    """One model's item values, by skill."""

    strata: tuple[tuple[Stratum, ...], ...]

    @classmethod
    def of(cls, sat: Evaluation, skills: Sequence[Skill], directions: Mapping[str, bool]) -> Measured:
        """A model's answers to an exam; `directions` tells of each task whether higher is better."""
        return cls(tuple(strata(skill, directions, sat.scores) for skill in skills))

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """A score with its 95 % interval for each skill."""
        return tuple(skill_interval(parts, SEED) for parts in self.strata)

    @property
    def scores(self) -> tuple[Estimate, ...]:
        """The same, for a card."""
        return tuple(map(estimate, self.intervals))

    def leads_over(self, other: Measured) -> tuple[Lead, ...]:
        """By how much this model is better on the same items, skill by skill."""
        return tuple(_lead(mine, theirs) for mine, theirs in zip(self.strata, other.strata, strict=True))

    def baseline(self, name: str, kind: BaselineKind, other: Measured) -> BaselineScores:
        """Another model as this one's card tells of it."""
        repo = None if kind is BaselineKind.PLAIN else name
        return BaselineScores(name, kind, repo, other.scores, self.leads_over(other))


def estimate(interval: Interval) -> Estimate:
    """An interval as a card tells it."""
    return Estimate(interval.mean, interval.low, interval.high)


def answer_counts(flags: Sequence[str | None]) -> AnswerCounts | None:
    """How a task's generated answers came out; None where none was generated."""
    found = Counter(flag for flag in flags if flag is not None)
    if not found:
        return None
    return AnswerCounts(
        found.total(), found[EMPTY], found[LOOPING], found[CUT_OFF], found[OTHER_LANGUAGE], found[NO_LANGUAGE]
    )


def _lead(mine: Sequence[Stratum], theirs: Sequence[Stratum]) -> Lead:
    paired = skill_paired_better(mine, theirs, SEED)
    return Lead(paired.difference, paired.low, paired.high, skill_paired_p_value(mine, theirs, SEED))

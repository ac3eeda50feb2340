"""A model's scores by skill with their intervals, and its leads over other models on the same items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.scoring.evaluator import Evaluation
from evaluation.scores import make_strata
from evaluation.skills import Skill
from evaluation.statistics.intervals import skill_interval
from evaluation.statistics.paired import paired_difference
from evaluation.statistics.values import Interval, PairedDifference, Stratum

SEED = 0
"""Seed of the bootstrap, so that the same scores give the same intervals."""


@dataclass(frozen=True)
class ModelScores:
    """One model's item values: for each skill, its tasks."""

    strata: tuple[tuple[Stratum, ...], ...]

    @classmethod
    def read(cls, evaluation: Evaluation, skills: Sequence[Skill], directions: Mapping[str, bool]) -> ModelScores:
        """The scores of an evaluation; `directions`: task → whether higher is better."""
        return cls(tuple(make_strata(skill, directions, evaluation.scores) for skill in skills))

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """The mean score of each skill with its 95 % interval."""
        return tuple(skill_interval(parts, SEED) for parts in self.strata)

    def leads_over(self, other: ModelScores) -> tuple[PairedDifference, ...]:
        """This model's score minus the other's over the same items, for each skill."""
        pairs = zip(self.strata, other.strata, strict=True)
        return tuple(paired_difference(mine, theirs, SEED) for mine, theirs in pairs)

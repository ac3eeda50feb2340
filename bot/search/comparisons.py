"""Compares a model with others, skill by skill, by their scores on the same items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bot.scoring.evaluator import Evaluation
from bot.search.results import Comparison
from evaluation.scores import make_strata
from evaluation.skills import Skill
from evaluation.statistics.paired import paired_difference
from evaluation.statistics.values import Stratum

SkillValues = Mapping[str, tuple[Stratum, ...]]
"""A model's item values by skill."""


def read_skill_values(
    evaluation: Evaluation, skills: Sequence[Skill], directions: Mapping[str, bool]
) -> dict[str, tuple[Stratum, ...]]:
    """The item values of an evaluation. directions: whether higher is better, by task."""
    return {skill.name: make_strata(skill, directions, evaluation.scores) for skill in skills}


def compare_with_each(own: SkillValues, others: Sequence[tuple[str, SkillValues]]) -> tuple[Comparison, ...]:
    """A model against every other one in every skill. others: by name."""
    comparisons = []
    for name, theirs in others:
        for skill in own:
            paired = paired_difference(own[skill], theirs[skill], seed=0)
            comparisons.append(Comparison(name, skill, paired.mean, paired.low, paired.high, paired.p_value))
    return tuple(comparisons)


def p_value_of_all(comparisons: Sequence[Comparison], skills: int) -> float:
    """p-value of "some of the others is not beaten in any skill": the largest over the others of the smallest p-value,
    corrected for the number of skills (Bonferroni); 1 without others.
    """
    return max((min(1.0, best.p_value * skills) for best in find_best_skills(comparisons)), default=1.0)


def find_best_skills(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """For each of the others, the comparison in the skill in which the model is most clearly better."""
    best: dict[str, Comparison] = {}
    for comparison in comparisons:
        if comparison.baseline not in best or comparison.p_value < best[comparison.baseline].p_value:
            best[comparison.baseline] = comparison
    return tuple(best.values())

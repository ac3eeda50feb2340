"""Computes skill scores from item scores. Imports nothing heavy."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from evaluation.errors import EvaluationError
from evaluation.skills import Skill
from evaluation.statistics.values import Stratum


@dataclass(frozen=True)
class ItemScore:
    """One item's value of one metric, as the task gives it (not turned to higher-is-better).

    task: `SkillTask.key`. flag: one of `degenerate.FLAGS` for a generated answer, of
    `PICTURE_FLAGS` for a picture, None if nothing was generated. sketch: of a picture that is still to be compared with
    the others of its set (`alike.flag_alike`): before that no picture is flagged as equal to another.
    """

    skill: str
    task: str
    item: str
    value: float
    flag: str | None
    sketch: str | None = None


def make_strata(skill: Skill, directions: Mapping[str, bool], item_scores: Iterable[ItemScore]) -> tuple[Stratum, ...]:
    """A skill's item values for each task, sorted by item id, lower-is-better metrics negated.

    directions: `SkillTask.key` → whether higher is better. Raises EvaluationError if a task has no
    scores, an item has two, or a value is not a finite number.
    """
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for score in item_scores:
        if score.skill != skill.name:
            continue
        if score.item in found[score.task]:
            raise EvaluationError(f"{score.task}: item {score.item} was scored twice for skill {skill.name}")
        if not math.isfinite(score.value):
            raise EvaluationError(f"{score.task}: item {score.item} has the score {score.value}, not a number")
        found[score.task][score.item] = score.value
    total = math.fsum(task.weight for task in skill.tasks)
    return tuple(
        _stratum(skill.name, task.key, task.weight / total, 1 if directions[task.key] else -1, found)
        for task in skill.tasks
    )


def _stratum(skill: str, key: str, weight: float, sign: int, found: Mapping[str, Mapping[str, float]]) -> Stratum:
    values = found.get(key)
    if not values:
        raise EvaluationError(f"skill {skill}: no item of {key} was scored; score its evaluation set first")
    items = tuple(sorted(values))
    return Stratum(weight, items, tuple(sign * values[item] for item in items))


def skill_scores(
    skills: Sequence[Skill], directions: Mapping[str, bool], item_scores: Iterable[ItemScore]
) -> dict[str, float]:
    """Each skill's score, higher being better: the weighted mean over its tasks of their item means."""
    known = list(item_scores)
    return {skill.name: weighted_mean(make_strata(skill, directions, known)) for skill in skills}


def standard_error(parts: Sequence[Stratum]) -> float:
    """Standard error of a skill's score as that of all items like these; the items of different tasks are independent.

    √Σ (w s)² / n, with s the standard deviation of a task's n values.
    """

    def squared_error(part: Stratum) -> float:
        mean = part.mean
        squares = math.fsum((value - mean) ** 2 for value in part.values)
        return part.weight**2 * squares / len(part.values) ** 2

    return math.sqrt(math.fsum(map(squared_error, parts)))


def weighted_mean(parts: Iterable[Stratum]) -> float:
    """A skill's score from its strata."""
    return math.fsum(stratum.weight * stratum.mean for stratum in parts)

"""Skills: what a search optimises, as lm-eval tasks with a metric each. Imports nothing heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from evaluation.errors import EvaluationError


@dataclass(frozen=True)
class SkillTask:
    """One number of one lm-eval task.

    `filter` names one of the task's output filters and may be left out when the task has only one.
    `num_fewshot` left out means the task's own number of examples. `weight` is relative to the other tasks
    of the skill.
    """

    task: str
    metric: str
    filter: str | None = None
    weight: float = 1.0
    num_fewshot: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise EvaluationError(f"task {self.task}: weight is {self.weight}; give a number above 0")
        if self.num_fewshot is not None and self.num_fewshot < 0:
            raise EvaluationError(f"task {self.task}: num_fewshot is {self.num_fewshot}; give 0 or more")

    @property
    def key(self) -> str:
        """Name that tells two uses of one task apart, e.g. `gsm8k:exact_match:strict-match:5-shot`.

        It does not depend on the other tasks of the watchlist, nor on the weight.
        """
        shots = None if self.num_fewshot is None else f"{self.num_fewshot}-shot"
        return ":".join(part for part in (self.task, self.metric, self.filter, shots) if part is not None)


@dataclass(frozen=True)
class Skill:
    """One objective of a search; `chat_template` says whether prompts go through the tokenizer's template.

    `language` is an ISO 639-1 code: an item then counts only if it is right and answered in that language.
    """

    name: str
    tasks: tuple[SkillTask, ...]
    chat_template: bool = False
    language: str | None = None

    def __post_init__(self) -> None:
        if not self.tasks:
            raise EvaluationError(f"skill {self.name}: it has no tasks; list at least one")
        keys = [task.key for task in self.tasks]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise EvaluationError(f"skill {self.name}: {twice[0]} is listed twice; give it once, with a weight")

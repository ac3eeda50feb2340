"""Skills: what is asked of models, as tasks with a metric each. Imports nothing heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from evaluation.errors import EvaluationError
from evaluation.splits import Split


@dataclass(frozen=True)
class SkillTask:
    """One metric of one task.

    filter: name of one of the task's output filters; None if it has only one. weight: relative to the other tasks of
    the skill. num_fewshot: number of examples in a prompt; None for the task's own.
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
        """Name of this use of the task, e.g. `gsm8k:exact_match:strict-match:5-shot`.

        It does not depend on the weight or on other tasks of the watchlist.
        """
        shots = None if self.num_fewshot is None else f"{self.num_fewshot}-shot"
        return ":".join(part for part in (self.task, self.metric, self.filter, shots) if part is not None)


@dataclass(frozen=True)
class Skill:
    """One ability of a model, as its tasks measure it.

    chat_template: whether prompts go through the tokenizer's template. language: an ISO 639-1 code; an item then counts
    only if it is right and answered in that language. in_search: whether the search asks it; otherwise it has items on
    the other splits alone.
    """

    name: str
    tasks: tuple[SkillTask, ...]
    chat_template: bool = False
    language: str | None = None
    in_search: bool = True

    def __post_init__(self) -> None:
        if not self.tasks:
            raise EvaluationError(f"skill {self.name}: it has no tasks; list at least one")
        keys = [task.key for task in self.tasks]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise EvaluationError(f"skill {self.name}: {twice[0]} is listed twice; give it once, with a weight")

    def is_asked(self, split: Split) -> bool:
        """Whether the skill has items on a split."""
        return self.in_search or split is not Split.SEARCH

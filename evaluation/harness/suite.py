"""The task suite of causal language models: lm-eval's tasks, asked of a model through the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.eval_set import TaskDescription
from evaluation.harness.engine_lm import EngineLM
from evaluation.harness.eval_set import LmEvalSet
from evaluation.harness.loading import describe_data_set, load_tasks
from evaluation.harness.process_state import compiled_templates, quiet
from evaluation.harness.rules import tokenizer_rules
from evaluation.harness.tasks import LoadedTask, divide_tasks
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Division, Split, SplitSizes

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class LmEvalSuite:
    """A `TaskSuite` of lm-eval tasks; its processor is a tokenizer."""

    skills: tuple[Skill, ...]
    tasks: Mapping[str, LoadedTask]
    sizes: SplitSizes
    seed: int

    @classmethod
    def load(cls, skills: Sequence[Skill], folders: Sequence[Path], sizes: SplitSizes, seed: int) -> LmEvalSuite:
        """Load the tasks; raises EvaluationError as `load_tasks` does."""
        return cls(tuple(skills), load_tasks(skills, folders), sizes, seed)

    def describe(self) -> tuple[TaskDescription, ...]:
        """Describe every use of a task, in the order of the skills. Raises EvaluationError as `divide_tasks` does."""
        with quiet():  # a task may prepare its documents only now
            divided = self._divide()
            return tuple(
                _describe_use(skill, use, self.tasks[use.task], divided[use.task])
                for skill in self.skills
                for use in skill.tasks
            )

    def example_prompt(self) -> str:
        """The prompt of one search item of the first task, without few-shot examples and chat template."""
        name = self.skills[0].tasks[0].task
        loaded = self.tasks[name]
        with quiet(), compiled_templates():
            doc = loaded.document(self._divide()[name].items[Split.SEARCH][0])
            text = loaded.task.doc_to_text(doc)
            # A task whose choices differ before the answer gives the right choice's number instead of a text.
            return text if isinstance(text, str) else str(loaded.task.doc_to_choice(doc)[text])

    def build(self, split: Split, processor: PreTrainedTokenizerBase, setting: Sequence[str]) -> LmEvalSet:
        """Write the requests of a split; raises EvaluationError as `LmEvalSet.build` does."""
        return LmEvalSet.build(self.skills, self.tasks, split, self.sizes, self.seed, processor, setting)

    def wrap(
        self, model: PreTrainedModel, processor: PreTrainedTokenizerBase, device: str, batch_size: int
    ) -> EngineLM:
        """The model as lm-eval asks it."""
        return EngineLM(model, processor, device, batch_size)

    def processor_digest(self, processor: PreTrainedTokenizerBase) -> str:
        """Digest of the tokenizer and its chat template."""
        return tokenizer_rules(processor, chat=True)

    def _divide(self) -> dict[str, Division]:
        return divide_tasks(self.skills, self.tasks, self.seed, self.sizes)


def _describe_use(skill: Skill, use: SkillTask, loaded: LoadedTask, division: Division) -> TaskDescription:
    config = loaded.task.config
    return TaskDescription(
        skill=skill.name,
        key=use.key,
        task=use.task,
        metric=use.metric,
        filter=loaded.filter(use),
        higher_is_better=loaded.higher_is_better(use.metric),
        num_fewshot=loaded.shots(use),
        output_type=config.output_type,
        dataset=describe_data_set(vars(config)),
        items={split: len(items) if skill.is_asked(split) else 0 for split, items in division.items.items()},
        own_search=skill.in_search and division.own_search,
        language=skill.language,
    )

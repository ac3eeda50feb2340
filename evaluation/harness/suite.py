"""The suite of lm-eval's tasks, for models of text and of text with pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.answers.ask import most_tokens
from evaluation.eval_set import EvalItem, ExamplePrompt, OwnDrawing, Question, Sample, TaskDescription
from evaluation.harness.eval_set import LmEvalSet, RequestWriter
from evaluation.harness.lm import CandidateLM
from evaluation.harness.loading import describe_data_set, load_tasks
from evaluation.harness.modalities.modality import Modality
from evaluation.harness.modalities.text import TEXT
from evaluation.harness.process_state import compiled_templates, quiet
from evaluation.harness.tasks import LoadedTask, divide_tasks
from evaluation.picture import encode_png
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Division, Split, SplitSizes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from evaluation.pictures.judges.judge import JudgeRepo


@dataclass(frozen=True)
class LmEvalSuite:
    """A `TaskSuite` of lm-eval tasks; what a model reads besides text, and its processor, are the modality's."""

    skills: tuple[Skill, ...]
    tasks: Mapping[str, LoadedTask]
    sizes: SplitSizes
    seed: int
    modality: Modality = TEXT

    @classmethod
    def load(
        cls,
        skills: Sequence[Skill],
        folders: Sequence[Path],
        sizes: SplitSizes,
        seed: int,
        modality: Modality = TEXT,
    ) -> LmEvalSuite:
        """Load the tasks; raises EvaluationError as `load_tasks` does."""
        return cls(tuple(skills), load_tasks(skills, folders, pictures=modality.pictures), sizes, seed, modality)

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
            return loaded.prompt(loaded.document(self._divide()[name].items[Split.SEARCH][0]))

    def example_prompts(self) -> tuple[ExamplePrompt, ...]:
        """One item of every use of a task, with its few-shot examples and before a chat template."""
        with quiet(), compiled_templates():
            divided = self._divide()
            return tuple(self._example(skill, use, divided[use.task]) for skill in self.skills for use in skill.tasks)

    def _example(self, skill: Skill, use: SkillTask, division: Division) -> ExamplePrompt:
        """An item of the search split, or of validation for a skill that the search does not ask."""
        loaded, shots = self.tasks[use.task], self.tasks[use.task].shots(use)
        split = next(split for split in Split if skill.is_asked(split))
        asked = RequestWriter(loaded, split, division, self.seed, shots).example()
        likely = [request for request in asked.requests if request.request_type == "loglikelihood"]
        request = asked.requests[0]
        options = request.args[1] if request.request_type == "generate_until" else {}
        until = options.get("until") or ()
        return ExamplePrompt(
            skill=skill.name,
            task=use.key,
            num_fewshot=shots,
            chat_template=skill.chat_template,
            prompt=request.args[0],
            choices=tuple(request.args[1] for request in likely),
            until=(until,) if isinstance(until, str) else tuple(until),
            expected=loaded.expected(asked.doc),
        )

    def drawn_in(self, own: OwnDrawing) -> LmEvalSuite:  # noqa: ARG002
        """The suite itself: nothing is drawn."""
        return self

    def try_out(self, model: Any, own: OwnDrawing) -> None:
        """Nothing is tried: what tasks ask is known to suit every model of the kind."""

    def judged_at_random(self, judges: Mapping[JudgeRepo, Path]) -> LmEvalSuite:  # noqa: ARG002
        """The suite itself: no models judge."""
        return self

    def ask(self, model: PreTrainedModel, processor: object, items: Sequence[EvalItem]) -> Sample:
        """Ask a model the one of some items with the shortest prompt, as `TaskSuite` says."""
        with quiet(), compiled_templates():
            shortest = min(items, key=lambda item: len(self._question(item, processor).prompt))
            question = replace(self._question(shortest, processor), pictures=self._pictures(shortest))
            return Sample(question, self.modality.generate_answer(model, processor, question))

    def _pictures(self, item: EvalItem) -> tuple[bytes, ...]:
        loaded = self.tasks[self._use(item)[1].task]
        return tuple(map(encode_png, loaded.show(item.item, ()))) if loaded.has_pictures else ()

    def _use(self, item: EvalItem) -> tuple[Skill, SkillTask]:
        skill = next(skill for skill in self.skills if skill.name == item.skill)
        return skill, next(use for use in skill.tasks if use.key == item.task)

    def _question(self, item: EvalItem, processor: object) -> Question:
        skill, use = self._use(item)
        loaded = self.tasks[use.task]
        doc = loaded.document(item.item)
        return Question(
            skill=skill.name,
            task=use.task,
            prompt=loaded.prompt(doc),
            expected=loaded.expected(doc).removesuffix(self.modality.end_of_text(processor)),
            num_fewshot=loaded.shots(use),
            chat_template=skill.chat_template,
            max_tokens=most_tokens(loaded.task.config.generation_kwargs),
        )

    def build(self, split: Split, processor: object, setting: Sequence[str]) -> LmEvalSet:
        """Write the requests of a split; raises EvaluationError as `LmEvalSet.build` does."""
        return LmEvalSet.build(self.skills, self.tasks, split, self.sizes, self.seed, processor, setting, self.modality)

    def wrap(self, model: PreTrainedModel, processor: object, device: str, batch_size: int) -> CandidateLM:
        """The model as lm-eval asks it."""
        return self.modality.wrap(model, processor, device, batch_size)

    def processor_digest(self, processor: object) -> str:
        """Digest of the processor and its chat template."""
        return self.modality.processor_rules(processor, chat=True)

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
        has_pictures=loaded.has_pictures,
    )

"""The suite of tasks that are judged by pictures, for image generators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffusers
import PIL
import torch
import transformers
from PIL import Image

from evaluation.errors import EvaluationError
from evaluation.eval_set import (
    AS_TASKS_SAY,
    DrawingSettings,
    DrawnTask,
    EvalItem,
    EvalSet,
    ExamplePrompt,
    JudgeDescription,
    OwnDrawing,
    Question,
    Sample,
    TaskDescription,
)
from evaluation.fingerprint import digest
from evaluation.harness.process_state import quiet
from evaluation.harness.rules import own_code_digest
from evaluation.picture import encode_png
from evaluation.pictures.drawing import Drawing, Painter
from evaluation.pictures.eval_set import PictureEvalSet, PictureRequests, PictureUse
from evaluation.pictures.judges.judge import JudgeRepo, JudgeSettings
from evaluation.pictures.judges.opened import JudgeDesk
from evaluation.pictures.rows import PictureItem
from evaluation.pictures.sampler import Sampler
from evaluation.pictures.task_files import find_metric_faults, find_picture_tasks
from evaluation.pictures.tasks import LoadedPictures, divide_pictures
from evaluation.pictures.trial import draws_in_sizes_of_its_own, find_fault, find_reason
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Division, Split, SplitSizes

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

PROBE_ROWS = 2

_WRITTEN_BY = "_diffusers_version"
"""A setting of a scheduler that is none."""


@dataclass(frozen=True)
class ImageSuite:
    """A `TaskSuite` of prompts. Its processor is the settings of a scheduler, as files have them; tokenizers belong to
    the candidate.

    judges: folder of the files of each judge's repo; those that are missing can be planned with, but not asked.
    desks: judges that were made, for all tasks and splits that have the same. is_trial: whether what they say does not
    matter, because their weights are random.
    """

    skills: tuple[Skill, ...]
    tasks: Mapping[str, LoadedPictures]
    sizes: SplitSizes
    seed: int
    judges: Mapping[JudgeRepo, Path]
    desks: dict[str, JudgeDesk] = field(default_factory=dict, repr=False, compare=False)
    is_trial: bool = False

    @classmethod
    def load(
        cls,
        skills: Sequence[Skill],
        folders: Sequence[Path],
        sizes: SplitSizes,
        seed: int,
        judges: Mapping[JudgeRepo, Path],
    ) -> ImageSuite:
        """Load the tasks; raises EvaluationError, a line for each that cannot be used. Rules are tried at once."""
        uses = [use for skill in skills for use in skill.tasks]
        search = find_picture_tasks(sorted({use.task for use in uses}), folders)
        faults = list(search.refused.values())
        for use in uses:
            if use.task in search.found:
                faults += [reason for _, reason in find_metric_faults(use, search.found[use.task])]
        loaded: dict[str, LoadedPictures] = {}
        for name, task in search.found.items():
            try:
                loaded[name] = LoadedPictures.load(task)
                _try_rules(loaded[name])
            except EvaluationError as error:
                faults.append(str(error))
        if faults:
            raise EvaluationError("\n".join(dict.fromkeys(faults)))
        return cls(tuple(skills), loaded, sizes, seed, dict(judges))

    def describe(self) -> tuple[TaskDescription, ...]:
        """Describe every use of a task, in their order. Raises EvaluationError as `divide_pictures` does."""
        divided = self._divide()
        return tuple(
            _describe_use(skill, use, self.tasks[use.task], divided[use.task])
            for skill in self.skills
            for use in skill.tasks
        )

    def example_prompt(self) -> str:
        """The prompt of one search item of the first task."""
        name = self.skills[0].tasks[0].task
        return self.tasks[name].item(self._divide()[name].items[Split.SEARCH][0]).prompt

    def example_prompts(self) -> tuple[ExamplePrompt, ...]:
        """One item of every use of a task."""
        divided = self._divide()
        return tuple(self._example(skill, use, divided[use.task]) for skill in self.skills for use in skill.tasks)

    def drawn_in(self, own: OwnDrawing) -> ImageSuite:
        """The same tasks, drawn in steps, or in a size, of the model's own."""
        changed = {
            name: replace(loaded, task=replace(loaded.task, sampler=loaded.task.sampler.drawn_in(own)))
            for name, loaded in self.tasks.items()
        }
        return replace(self, tasks=changed)

    def try_out(self, model: Any, own: OwnDrawing) -> None:
        """Draw a picture of each task, roughly; where the size is the model's own, rules are tried with it, too."""
        faults, known = [], dict[str, str | None]()
        for name, loaded in self.drawn_in(own).tasks.items():
            sampler, prompt = loaded.task.sampler, next(iter(loaded.test.values())).prompt
            try:
                if sampler.key not in known:
                    known[sampler.key] = _find_drawing_fault(model, sampler, prompt, own)
                if fault := known[sampler.key]:
                    faults.append(f"task {name}: {fault}")
                elif own.size is not None:
                    _try_rules(loaded)
            except EvaluationError as error:
                faults.append(str(error))
        if faults:
            raise EvaluationError("\n".join(faults))

    def judged_at_random(self, judges: Mapping[JudgeRepo, Path]) -> ImageSuite:
        """The same tasks; nobody looks at what these judges say."""
        return replace(self, judges=judges, desks={}, is_trial=True)

    def ask(self, model: DiffusionPipeline, processor: object, items: Sequence[EvalItem]) -> Sample:  # noqa: ARG002
        """Draw the one of some items with the shortest prompt, as `TaskSuite` says, alone, as a card's code does."""
        found = [(self._use(item), item) for item in items]
        (skill, use), asked = min(found, key=lambda one: len(self.tasks[one[0][1].task].item(one[1].item).prompt))
        loaded = self.tasks[use.task]
        item = loaded.item(asked.item)
        sampler = loaded.task.sampler
        painter = Painter(model, str(model.device), 1)
        with quiet():
            ((drawn,),) = painter.draw(sampler, [Drawing(item.prompt, item.seed)])
        question = Question(
            skill=skill.name,
            task=use.task,
            prompt=item.prompt,
            expected="",
            num_fewshot=0,
            chat_template=False,
            max_tokens=0,
            drawing=DrawingSettings(item.seed, sampler.arguments, sampler.scheduler, painter.noise_in_steps),
        )
        return Sample(question, answer="", pictures=(encode_png(Image.fromarray(drawn.pixels)),))

    def build(self, split: Split, processor: Any, setting: Sequence[str]) -> EvalSet[Any]:
        """The items of a split, with their judges, which are opened when they are first asked."""
        divided = self._divide()
        uses: dict[str, list[tuple[Skill, SkillTask]]] = {}
        for skill in (skill for skill in self.skills if skill.is_asked(split)):
            for use in skill.tasks:
                uses.setdefault(use.task, []).append((skill, use))
        rules = [self.processor_digest(processor), *setting]
        requests = []
        for name, of_task in uses.items():
            loaded = self.tasks[name]
            items = tuple(map(loaded.item, divided[name].items[split]))
            judge = loaded.task.judge_of(split)
            form = [loaded.task.sampler.key, judge.facts, _versions(), own_code_digest(), *rules]
            metrics = tuple(
                PictureUse(skill.name, use.key, use.metric, digest([form, use.metric])) for skill, use in of_task
            )
            later = loaded.task.report_judge if split is Split.SEARCH else None
            requests.append(
                PictureRequests(
                    task=name,
                    sampler=loaded.task.sampler,
                    judge=self._desk(judge, loaded, items),
                    items=items,
                    uses=metrics,
                    later=self._desk(later, loaded, items) if later is not None else None,
                )
            )
        return PictureEvalSet.of(requests)

    def wrap(self, model: DiffusionPipeline, processor: object, device: str, batch_size: int) -> Painter:  # noqa: ARG002
        """The pipeline, ready to draw."""
        return Painter(model, device, batch_size)

    def processor_digest(self, processor: Any) -> str:
        """Digest of the scheduler's settings."""
        return digest({name: value for name, value in processor.items() if name != _WRITTEN_BY})

    def _desk(self, judge: JudgeSettings, loaded: LoadedPictures, items: Sequence[PictureItem]) -> JudgeDesk:
        key = digest([judge.facts, list(loaded.task.metrics)])
        if key not in self.desks:
            folder = self.judges.get(judge.repo) if judge.repo is not None else None
            rows = [item.row for item in items[:PROBE_ROWS]]
            metrics = () if self.is_trial else loaded.task.metrics
            self.desks[key] = JudgeDesk(judge, folder, metrics, rows, loaded.task.sampler.size)
        return self.desks[key]

    def _use(self, item: EvalItem) -> tuple[Skill, SkillTask]:
        skill = next(skill for skill in self.skills if skill.name == item.skill)
        return skill, next(use for use in skill.tasks if use.key == item.task)

    def _example(self, skill: Skill, use: SkillTask, division: Division) -> ExamplePrompt:
        split = next(split for split in Split if skill.is_asked(split))
        task = self.tasks[use.task].task
        item = self.tasks[use.task].item(division.items[split][0])
        return ExamplePrompt(
            skill=skill.name,
            task=use.key,
            num_fewshot=0,
            chat_template=False,
            prompt=item.prompt,
            choices=(),
            until=(),
            expected="",
            drawn=(
                f"{task.sampler.width} × {task.sampler.height} pixels in {task.sampler.steps} steps from seed "
                f"{item.seed}; judged by {task.judge.description}"
            ),
        )

    def _divide(self) -> dict[str, Division]:
        return divide_pictures(self.skills, self.tasks, self.seed, self.sizes)


def _find_drawing_fault(painter: Painter, sampler: Sampler, prompt: str, own: OwnDrawing) -> str | None:
    """What is wrong with a task's sampler; in steps or a size of a model's own its keys are not at fault."""
    if own == AS_TASKS_SAY:
        return find_fault(painter, sampler, prompt)
    if own.size is not None and (reason := draws_in_sizes_of_its_own(painter, sampler)):
        return reason
    reason = find_reason(painter, sampler, prompt)
    return reason and f"in {sampler.steps} steps {_pixels(sampler)}: {reason}"


def _try_rules(loaded: LoadedPictures) -> None:
    """Raise EvaluationError for a rule of a task that cannot judge."""
    task = loaded.task
    rows = [item.row for item in loaded.test.values()][:PROBE_ROWS]
    for judge in (task.judge, task.report_judge):
        if judge is not None and judge.repo is None:
            try:
                JudgeDesk(judge, None, task.metrics, rows, task.sampler.size).open("cpu")
            except EvaluationError as error:
                raise EvaluationError(f"task {task.name}: {_pixels(task.sampler)}: {error}") from error


def _pixels(sampler: Sampler) -> str:
    return f"at {sampler.width} × {sampler.height} pixels"


def _describe_use(skill: Skill, use: SkillTask, loaded: LoadedPictures, division: Division) -> TaskDescription:
    task = loaded.task
    files = [file.name for file in (task.train, task.test) if file is not None]
    return TaskDescription(
        skill=skill.name,
        key=use.key,
        task=use.task,
        metric=use.metric,
        filter=task.judge.description,
        higher_is_better=task.metrics[use.metric],
        num_fewshot=0,
        output_type="picture",
        dataset=" ".join(files),
        items={split: len(items) if skill.is_asked(split) else 0 for split, items in division.items.items()},
        own_search=skill.in_search and division.own_search,
        language=None,
        drawn=DrawnTask(
            task.sampler.arguments,
            task.sampler.scheduler,
            _describe_judge(task.judge_of(Split.SEARCH)),
            _describe_judge(task.judge_of(Split.REPORT)),
        ),
    )


def _describe_judge(judge: JudgeSettings) -> JudgeDescription:
    repo = judge.repo
    return JudgeDescription(judge.description, repo.repo if repo else None, repo.revision if repo else None)


def _versions() -> list[str]:
    return [str(module.__version__) for module in (torch, diffusers, transformers, PIL)]

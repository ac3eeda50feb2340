"""Task suites: the tasks of all skills, prepared for one kind of model.

A kind is known by its name alone; this package does not know how its models are built.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from evaluation.errors import EvaluationError
from evaluation.eval_set import (
    EvalItem,
    EvalSet,
    EvalSetFacts,
    ExamplePrompt,
    OwnDrawing,
    RoundFacts,
    Sample,
    TaskDescription,
)
from evaluation.skills import Skill
from evaluation.splits import Split, SplitSizes

if TYPE_CHECKING:
    from torch.nn import Module

    from evaluation.pictures.judges.judge import JudgeRepo


class WrappedModel(Protocol):
    """A model in memory in the form in which the suite's evaluation sets ask it."""

    def put(self, model: Module) -> None:
        """Ask another model from now on, of the same family, processor and device, and of any depth; or the same one
        after its weights have changed in place. Rounds of an evaluation set share nothing across this call."""


class TaskSuite(Protocol):
    """Tasks that are loaded and checked. A processor turns inputs into tensors: a language model's is its tokenizer."""

    def describe(self) -> tuple[TaskDescription, ...]:
        """Describe every use of a task, in the order of the skills."""

    def example_prompt(self) -> str:
        """One prompt of the search split, as plain text."""

    def example_prompts(self) -> tuple[ExamplePrompt, ...]:
        """One item of every use of a task, in the order of the skills, as a model reads it."""

    def drawn_in(self, own: OwnDrawing) -> TaskSuite:
        """The suite for a model that draws in steps, or in a size, of its own."""

    def try_out(self, model: WrappedModel, own: OwnDrawing) -> None:
        """Ask a model, like those that will be scored, so much that a task with which it cannot work shows.

        Raises EvaluationError, a line for each of these. own: what the model draws in otherwise than tasks say.
        """

    def judged_at_random(self, judges: Judges) -> TaskSuite:
        """For measuring: the suite with models of random weights as judges, whose numbers mean nothing."""

    def ask(self, model: Module, processor: object, items: Sequence[EvalItem]) -> Sample:
        """Ask a model, as the code on a card does, the first of those items that have the shortest prompt.

        At least one item is needed.
        """

    def build(self, split: Split, processor: object, setting: Sequence[str]) -> EvalSet[WrappedModel]:
        """Prepare the evaluation set of a split; `setting`: further facts that decide scores, for its digests."""

    def wrap(self, model: Module, processor: object, device: str, batch_size: int) -> WrappedModel:
        """Move a model to a device and make it ready to be asked."""

    def processor_digest(self, processor: object) -> str:
        """Digest of all that a processor does to inputs: two of one digest are interchangeable."""


def collect_facts(
    suite: TaskSuite, eval_set: EvalSet[WrappedModel], rounds: Sequence[EvalSet[WrappedModel]]
) -> EvalSetFacts:
    """Describe an evaluation set of the suite, and the rounds that it was cut into."""
    tasks = suite.describe()
    return EvalSetFacts(
        digest=eval_set.digest,
        items=eval_set.items,
        directions=tuple({task.key: task.higher_is_better for task in tasks}.items()),
        tasks=tasks,
        prompt=suite.example_prompt(),
        rounds=tuple(RoundFacts(one.digest, one.items, one.cost) for one in rounds),
    )


Judges = Mapping["JudgeRepo", Path]
"""The folder of the files of each repo with a judge."""

NO_JUDGES: Judges = MappingProxyType({})


class SuiteLoader(Protocol):
    """Loads a suite."""

    def __call__(
        self,
        skills: Sequence[Skill],
        folders: Sequence[Path],
        sizes: SplitSizes,
        seed: int,
        judges: Judges = NO_JUDGES,
        /,
    ) -> TaskSuite:
        """Take all skills of a watchlist, its task folders, its limits of items, the seed of the splits, and the models
        that judge (`FIND_JUDGES`). Raises EvaluationError, which names the task, for one that cannot be used."""


def _load_text(
    skills: Sequence[Skill],
    folders: Sequence[Path],
    sizes: SplitSizes,
    seed: int,
    _judges: Judges = NO_JUDGES,
) -> TaskSuite:
    from evaluation.harness.modalities.text import TEXT
    from evaluation.harness.suite import LmEvalSuite

    return LmEvalSuite.load(skills, folders, sizes, seed, TEXT)


def _load_pictures(
    skills: Sequence[Skill],
    folders: Sequence[Path],
    sizes: SplitSizes,
    seed: int,
    _judges: Judges = NO_JUDGES,
) -> TaskSuite:
    from evaluation.harness.modalities.pictures import PICTURES
    from evaluation.harness.suite import LmEvalSuite

    return LmEvalSuite.load(skills, folders, sizes, seed, PICTURES)


def _load_image(
    skills: Sequence[Skill], folders: Sequence[Path], sizes: SplitSizes, seed: int, judges: Judges = NO_JUDGES
) -> TaskSuite:
    if importlib.util.find_spec("diffusers") is None:
        raise EvaluationError("image generators need diffusers; pip install 'shoal[image]'")
    from evaluation.pictures.suite import ImageSuite

    return ImageSuite.load(skills, folders, sizes, seed, judges)


LANGUAGE, VISION_LANGUAGE, IMAGE = "language", "vision-language", "image"

SUITES: Mapping[str, SuiteLoader] = {LANGUAGE: _load_text, VISION_LANGUAGE: _load_pictures, IMAGE: _load_image}
"""The suites by kind of model."""


@dataclass(frozen=True)
class TaskFault:
    """A key of a skill, or of one of its tasks (both counted from 0), that does not fit the task, and why."""

    skill: int
    task: int | None
    key: str
    reason: str


TaskCheck = Callable[[Sequence[Skill], Sequence[Path]], Iterator[TaskFault]]
"""Takes all skills of a watchlist and its task folders; finds the faults that can be seen without loading data."""


def _check_files(skills: Sequence[Skill], folders: Sequence[Path], *, pictures: bool) -> Iterator[TaskFault]:
    from evaluation.harness.task_files import find_task_faults

    return find_task_faults(skills, folders, pictures=pictures)


def _check_prompts(skills: Sequence[Skill], folders: Sequence[Path]) -> Iterator[TaskFault]:
    from evaluation.pictures.task_files import find_picture_faults

    return find_picture_faults(skills, folders)


TASK_CHECKS: Mapping[str, TaskCheck] = {
    LANGUAGE: partial(_check_files, pictures=False),
    VISION_LANGUAGE: partial(_check_files, pictures=True),
    IMAGE: _check_prompts,
}
"""The quick checks of tasks by kind of model, which import nothing heavy."""


def _find_judges(skills: Sequence[Skill], folders: Sequence[Path]) -> tuple[JudgeRepo, ...]:
    from evaluation.pictures.task_files import find_judge_repos

    return find_judge_repos(skills, folders)


FIND_JUDGES: Mapping[str, Callable[[Sequence[Skill], Sequence[Path]], tuple[JudgeRepo, ...]]] = {IMAGE: _find_judges}
"""Finds the repos of the models that judge the tasks, by kind of model; kinds that are missing have none."""


@dataclass(frozen=True)
class BatchSizes:
    """How many items are answered together, by models that are tiny, small and large."""

    tiny: int
    small: int
    large: int


WRITTEN, DRAWN = BatchSizes(64, 16, 4), BatchSizes(64, 4, 1)
"""Of requests for text; and of pictures, one of which keeps a device busy and takes far more memory than a prompt."""

BATCH_SIZES: Mapping[str, BatchSizes] = {LANGUAGE: WRITTEN, VISION_LANGUAGE: WRITTEN, IMAGE: DRAWN}
"""By kind of model."""

SUITE_MODULES: Mapping[str, str] = {
    LANGUAGE: "evaluation.harness.suite",
    VISION_LANGUAGE: "evaluation.harness.suite",
    IMAGE: "evaluation.pictures.suite",
}
"""The module of each suite, by kind of model, for processes that import it before it is needed."""

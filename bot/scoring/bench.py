"""What one worker process holds and does: the pool's weights mapped once, one live model, the exams."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.scoring.machine import Crew
from evaluation.errors import EvaluationError
from evaluation.skills import Skill
from evaluation.splits import Split, SplitSizes
from merging.dataflow.path import AnyRecipe, PathRecipe
from merging.recipe import SourceRef

if TYPE_CHECKING:
    from evaluation.engine.engine import Engine
    from evaluation.exam import Exam
    from evaluation.tasks import TaskFacts


class NotFiniteError(Exception):
    """The candidate's logits hold NaN or infinity."""


@dataclass(frozen=True)
class Bench:
    """Everything a worker needs to score candidates; small, for it is sent to each process once.

    checkpoints: every source's folder, complete and verified.
    skeleton: the one of them whose config and tokenizer the candidates have.
    seed: of the splits. rounds: into how many each exam is divided, for candidates that may leave early.
    """

    checkpoints: tuple[tuple[SourceRef, Path], ...]
    skeleton: SourceRef
    dtype: str
    skills: tuple[Skill, ...]
    task_folders: tuple[Path, ...]
    sizes: SplitSizes
    seed: int
    crew: Crew
    rounds: int = 1


@dataclass(frozen=True)
class ExamItem:
    """One item of an exam: the skill, the task within it, the task's digest (the ledger's key), and the item's id."""

    skill: str
    task: str
    digest: str
    item: str


@dataclass(frozen=True)
class RoundFacts:
    """What one round of an exam asks."""

    digest: str
    items: tuple[ExamItem, ...]


@dataclass(frozen=True)
class ExamFacts:
    """What an exam asks, without its requests.

    directions: task → whether higher is better. tasks: what a card tells of each. prompt: an example's plain text.
    rounds: the same items in the order in which candidates that may leave early are asked.
    """

    digest: str
    items: tuple[ExamItem, ...]
    directions: tuple[tuple[str, bool], ...]
    tasks: tuple[TaskFacts, ...]
    prompt: str
    rounds: tuple[RoundFacts, ...] = ()


@dataclass(frozen=True)
class Marks:
    """What one candidate got: (value, flag) for each of the exam's items in their order; seconds of work."""

    values: tuple[tuple[float, str | None], ...]
    seconds: float


class BenchAtWork:
    """A bench in its process: opens what it needs on first use and keeps it."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._exams: dict[Split, Exam] = {}
        self._rounds: dict[Split, tuple[Exam, ...]] = {}

    def facts(self, split: Split) -> ExamFacts:
        """What the exam of a split asks.

        Raises EvaluationError for a task that cannot be used, MergingError for a model that cannot be built: the
        first question to a worker, so that neither is taken for a fault of each candidate in turn.
        """
        from evaluation.tasks import describe, directions, example_prompt

        exam, bench, _ = self._exam(split), self._bench, self._live
        return ExamFacts(
            digest=exam.digest,
            items=_items(exam),
            directions=tuple(directions(bench.skills, self._tasks).items()),
            tasks=describe(bench.skills, self._tasks, bench.seed, bench.sizes),
            prompt=example_prompt(bench.skills, self._tasks, bench.seed, bench.sizes),
            rounds=tuple(RoundFacts(part.digest, _items(part)) for part in self._parts(split)),
        )

    def score(self, recipe: AnyRecipe, split: Split, part: int | None = None) -> Marks:
        """Make the model of a recipe in memory and let it sit the exam, or one round of it (counted from 0)."""
        started = time.monotonic()
        if isinstance(recipe, PathRecipe):
            self._engine.put(self._paths.model(recipe))
        else:
            self._live.become(recipe)
            self._engine.put(self._live.model)
        exam = self._exam(split) if part is None else self._parts(split)[part]
        return self._sit(self._engine, exam, started)

    def score_folder(self, folder: Path, split: Split) -> Marks:
        """Load a written checkpoint and its tokenizer as any user would, and let them sit the exam.

        Raises EvaluationError if the tokenizer in the folder does not do what the candidates' did.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from evaluation.engine.engine import engine
        from evaluation.fingerprint import tokenizer_rules

        started = time.monotonic()
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        if tokenizer_rules(tokenizer, chat=True) != tokenizer_rules(self._tokenizer, chat=True):
            raise EvaluationError(f"{folder}: its tokenizer is not the one that the candidates were scored with")
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype="auto", use_safetensors=True, trust_remote_code=False
        )
        crew = self._bench.crew
        lm = engine(model.eval(), self._tokenizer, crew.device, crew.batch_size)
        return self._sit(lm, self._exam(split), started)

    def _sit(self, lm: Engine, exam: Exam, started: float) -> Marks:
        watch = lm.model.get_output_embeddings().register_forward_hook(_refuse_non_finite)
        try:
            scores = exam.score(lm)
        finally:
            watch.remove()
        found = {(score.skill, score.task, score.item): (score.value, score.flag) for score in scores}
        values = tuple(found[item.skill, item.task, item.item] for item in _items(exam))
        return Marks(values, time.monotonic() - started)

    def _exam(self, split: Split) -> Exam:
        if split not in self._exams:
            from evaluation.exam import Exam

            bench = self._bench
            self._exams[split] = Exam.build(
                bench.skills, self._tasks, split, bench.sizes, bench.seed, self._tokenizer, setting=self._setting
            )
        return self._exams[split]

    def _parts(self, split: Split) -> tuple[Exam, ...]:
        if split not in self._rounds:
            self._rounds[split] = self._exam(split).rounds(self._bench.rounds)
        return self._rounds[split]

    @cached_property
    def _setting(self) -> tuple[str, ...]:
        """What decides scores beside weights and questions: the machine's part, and the model's own settings."""
        crew, folder = self._bench.crew, dict(self._bench.checkpoints)[self._bench.skeleton]
        settings = [folder / name for name in ("config.json", "generation_config.json") if (folder / name).is_file()]
        digests = (f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in settings)
        return (f"device {crew.device}", f"batch size {crew.batch_size}", *digests)

    @cached_property
    def _tasks(self) -> Any:
        from evaluation.tasks import load_tasks

        return load_tasks(self._bench.skills, self._bench.task_folders)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(
            dict(self._bench.checkpoints)[self._bench.skeleton], trust_remote_code=False
        )

    @cached_property
    def _engine(self) -> Engine:
        """The live model as lm-eval sees it; what it plans for an exam serves every candidate."""
        from evaluation.engine.engine import engine

        crew = self._bench.crew
        return engine(self._live.model, self._tokenizer, crew.device, crew.batch_size)

    @cached_property
    def _live(self) -> Any:
        from merging.models.live import LiveModel

        return LiveModel(
            dict(self._bench.checkpoints)[self._bench.skeleton],
            self._checkpoints,
            device=self._bench.crew.device,
            dtype=self._bench.dtype,
        )

    @cached_property
    def _paths(self) -> Any:
        from merging.dataflow.live import PathModels

        return PathModels(
            dict(self._bench.checkpoints)[self._bench.skeleton],
            self._checkpoints,
            device=self._bench.crew.device,
            dtype=self._bench.dtype,
        )

    @cached_property
    def _checkpoints(self) -> Any:
        from merging.sources.checkpoint import Checkpoint

        return {source: Checkpoint.open(folder) for source, folder in self._bench.checkpoints}


def _items(exam: Exam) -> tuple[ExamItem, ...]:
    return tuple(
        ExamItem(entry.skill, entry.task, entry.digest, item) for entry in exam.entries for item in entry.items
    )


def _refuse_non_finite(_module: Any, _inputs: Any, logits: Any) -> None:
    """A forward hook on the head: NaN must fail loudly, for an argmax over NaN would still give an answer."""
    if not logits.isfinite().all():
        raise NotFiniteError("the model's logits are not finite (NaN or infinity)")

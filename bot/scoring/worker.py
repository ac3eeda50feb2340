"""What one worker process holds and does: the pool's weights mapped once, one live model, the exams."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.scoring.resources import Resources
from evaluation.errors import EvaluationError
from evaluation.skills import Skill
from evaluation.splits import Split, SplitSizes
from merging.recipes.path import PathRecipe, Recipe
from merging.recipes.weight_merge import ModelId

if TYPE_CHECKING:
    from evaluation.engine.engine import Engine
    from evaluation.harness.eval_set import LmEvalSet
    from evaluation.harness.tasks import TaskDescription


class NotFiniteError(Exception):
    """The candidate's logits hold NaN or infinity."""


@dataclass(frozen=True)
class WorkerSpec:
    """Everything a worker needs to score candidates; small, for it is sent to each process once.

    checkpoints: every source's folder, complete and verified.
    skeleton: the one of them whose config and tokenizer the candidates have.
    seed: of the splits. rounds: into how many each exam is divided, for candidates that may leave early.
    """

    checkpoints: tuple[tuple[ModelId, Path], ...]
    config_source: ModelId
    dtype: str
    skills: tuple[Skill, ...]
    task_folders: tuple[Path, ...]
    sizes: SplitSizes
    seed: int
    resources: Resources
    rounds: int = 1


@dataclass(frozen=True)
class EvalItem:
    """One item of an exam: the skill, the task within it, the task's digest (the ledger's key), and the item's id."""

    skill: str
    task: str
    digest: str
    item: str


@dataclass(frozen=True)
class RoundFacts:
    """What one round of an exam asks."""

    digest: str
    items: tuple[EvalItem, ...]


@dataclass(frozen=True)
class EvalSetFacts:
    """What an exam asks, without its requests.

    directions: task → whether higher is better. tasks: what a card tells of each. prompt: an example's plain text.
    rounds: the same items in the order in which candidates that may leave early are asked.
    """

    digest: str
    items: tuple[EvalItem, ...]
    directions: tuple[tuple[str, bool], ...]
    tasks: tuple[TaskDescription, ...]
    prompt: str
    rounds: tuple[RoundFacts, ...] = ()


@dataclass(frozen=True)
class ItemResults:
    """What one candidate got: (value, flag) for each of the exam's items in their order; seconds of work."""

    values: tuple[tuple[float, str | None], ...]
    seconds: float


class Worker:
    """A bench in its process: opens what it needs on first use and keeps it."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._eval_sets: dict[Split, LmEvalSet] = {}
        self._rounds: dict[Split, tuple[LmEvalSet, ...]] = {}

    def facts(self, split: Split) -> EvalSetFacts:
        """What the exam of a split asks.

        Raises EvaluationError for a task that cannot be used, MergingError for a model that cannot be built: the
        first question to a worker, so that neither is taken for a fault of each candidate in turn.
        """
        from evaluation.harness.tasks import describe, directions, example_prompt

        eval_set, spec, _ = self._eval_set(split), self._spec, self._live
        return EvalSetFacts(
            digest=eval_set.digest,
            items=_items(eval_set),
            directions=tuple(directions(spec.skills, self._tasks).items()),
            tasks=describe(spec.skills, self._tasks, spec.seed, spec.sizes),
            prompt=example_prompt(spec.skills, self._tasks, spec.seed, spec.sizes),
            rounds=tuple(RoundFacts(part.digest, _items(part)) for part in self._parts(split)),
        )

    def score(self, recipe: Recipe, split: Split, part: int | None = None) -> ItemResults:
        """Make the model of a recipe in memory and let it sit the exam, or one round of it (counted from 0)."""
        started = time.monotonic()
        if isinstance(recipe, PathRecipe):
            self._engine.put(self._paths.model(recipe))
        else:
            self._live.become(recipe)
            self._engine.put(self._live.model)
        eval_set = self._eval_set(split) if part is None else self._parts(split)[part]
        return self._sit(self._engine, eval_set, started)

    def score_folder(self, folder: Path, split: Split) -> ItemResults:
        """Load a written checkpoint and its tokenizer as any user would, and let them sit the exam.

        Raises EvaluationError if the tokenizer in the folder does not do what the candidates' did.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from evaluation.engine.engine import engine
        from evaluation.harness.fingerprint import tokenizer_rules

        started = time.monotonic()
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        if tokenizer_rules(tokenizer, chat=True) != tokenizer_rules(self._tokenizer, chat=True):
            raise EvaluationError(f"{folder}: its tokenizer is not the one that the candidates were scored with")
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype="auto", use_safetensors=True, trust_remote_code=False
        )
        resources = self._spec.resources
        lm = engine(model.eval(), self._tokenizer, resources.device, resources.batch_size)
        return self._sit(lm, self._eval_set(split), started)

    def _sit(self, lm: Engine, eval_set: LmEvalSet, started: float) -> ItemResults:
        watch = lm.model.get_output_embeddings().register_forward_hook(_refuse_non_finite)
        try:
            scores = eval_set.score(lm)
        finally:
            watch.remove()
        found = {(score.skill, score.task, score.item): (score.value, score.flag) for score in scores}
        values = tuple(found[item.skill, item.task, item.item] for item in _items(eval_set))
        return ItemResults(values, time.monotonic() - started)

    def _eval_set(self, split: Split) -> LmEvalSet:
        if split not in self._eval_sets:
            from evaluation.harness.eval_set import LmEvalSet

            spec = self._spec
            self._eval_sets[split] = LmEvalSet.build(
                spec.skills, self._tasks, split, spec.sizes, spec.seed, self._tokenizer, setting=self._setting
            )
        return self._eval_sets[split]

    def _parts(self, split: Split) -> tuple[LmEvalSet, ...]:
        if split not in self._rounds:
            self._rounds[split] = self._eval_set(split).rounds(self._spec.rounds)
        return self._rounds[split]

    @cached_property
    def _setting(self) -> tuple[str, ...]:
        """What decides scores beside weights and questions: the machine's part, and the model's own settings."""
        resources, folder = self._spec.resources, dict(self._spec.checkpoints)[self._spec.config_source]
        settings = [folder / name for name in ("config.json", "generation_config.json") if (folder / name).is_file()]
        digests = (f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in settings)
        return (f"device {resources.device}", f"batch size {resources.batch_size}", *digests)

    @cached_property
    def _tasks(self) -> Any:
        from evaluation.harness.tasks import load_tasks

        return load_tasks(self._spec.skills, self._spec.task_folders)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(
            dict(self._spec.checkpoints)[self._spec.config_source], trust_remote_code=False
        )

    @cached_property
    def _engine(self) -> Engine:
        """The live model as lm-eval sees it; what it plans for an exam serves every candidate."""
        from evaluation.engine.engine import engine

        resources = self._spec.resources
        return engine(self._live.model, self._tokenizer, resources.device, resources.batch_size)

    @cached_property
    def _live(self) -> Any:
        from merging.models.live import LiveModel

        return LiveModel(
            dict(self._spec.checkpoints)[self._spec.config_source],
            self._checkpoints,
            device=self._spec.resources.device,
            dtype=self._spec.dtype,
        )

    @cached_property
    def _paths(self) -> Any:
        from merging.paths.live import PathModels

        return PathModels(
            dict(self._spec.checkpoints)[self._spec.config_source],
            self._checkpoints,
            device=self._spec.resources.device,
            dtype=self._spec.dtype,
        )

    @cached_property
    def _checkpoints(self) -> Any:
        from merging.sources.checkpoint import Checkpoint

        return {source: Checkpoint.open(folder) for source, folder in self._spec.checkpoints}


def _items(eval_set: LmEvalSet) -> tuple[EvalItem, ...]:
    return tuple(
        EvalItem(entry.skill, entry.task, entry.digest, item) for entry in eval_set.entries for item in entry.items
    )


def _refuse_non_finite(_module: Any, _inputs: Any, logits: Any) -> None:
    """A forward hook on the head: NaN must fail loudly, for an argmax over NaN would still give an answer."""
    if not logits.isfinite().all():
        raise NotFiniteError("the model's logits are not finite (NaN or infinity)")

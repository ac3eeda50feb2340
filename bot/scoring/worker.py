"""A worker: it maps the pool's weights once, and scores one candidate after another in the same live model."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import merging
from bot.scoring.evaluator import own_drawing
from bot.scoring.worker_spec import WorkerSpec
from evaluation.errors import EvaluationError
from evaluation.eval_set import AS_TASKS_SAY, EvalItem, EvalSet, EvalSetFacts, ItemResults, OwnDrawing, Sample
from evaluation.fingerprint import sources_digest
from evaluation.splits import Split
from evaluation.suites import SUITES, TaskSuite, WrappedModel, collect_facts
from merging.kinds import KINDS
from merging.kinds.kind import LiveCandidates, ModelKind
from merging.recipes.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

NOT_SCORING = ("evolution", "spaces", "mergekit", "writing")
"""Parts of merging that choose or write recipes; all its other code decides the weights of a given recipe."""


class NotFiniteError(Exception):
    """The candidate's logits hold NaN or infinity."""


class Worker:
    """Scores candidates by a spec; opens what it needs on first use and keeps it."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._eval_sets: dict[Split, EvalSet[WrappedModel]] = {}
        self._rounds: dict[Split, Sequence[EvalSet[WrappedModel]]] = {}
        self._live: tuple[str, Any] | None = None

    def facts(self, split: Split) -> EvalSetFacts:
        """Describe the evaluation set of a split.

        Raises EvaluationError for a task that cannot be used, MergingError for a model that cannot be built. It is the
        first job of a worker, so that neither is reported as a fault of each candidate in turn.
        """
        eval_set, _ = self._eval_set(split), self._models  # a model that cannot be built fails here
        return collect_facts(self._suite, eval_set, self._round_sets(split))

    def evaluate(self, recipe: Recipe, split: Split, round_index: int | None = None) -> ItemResults:
        """Build a recipe's model in memory and score it on a split, or on one round of it (counted from 0).

        A recipe that follows itself keeps its model, and its rounds the prefixes that they share.
        """
        started = time.monotonic()
        model = self._live_model(recipe)
        eval_set = self._eval_set(split) if round_index is None else self._round_sets(split)[round_index]
        return self._score(model, self._wrapped, eval_set.drawn_in(own_drawing(recipe)), started)

    def evaluate_folder(self, folder: Path, split: Split, own: OwnDrawing = AS_TASKS_SAY) -> ItemResults:
        """Load a written checkpoint and its processor as any user would, and score it. own: its recipe's.

        Raises EvaluationError if the tokenizer or scheduler in the folder has other rules than the candidates'.
        """
        started = time.monotonic()
        processor = self._kind.load_processor(folder)
        if self._suite.processor_digest(processor) != self._suite.processor_digest(self._processor):
            what = "tokenizer, processor or scheduler"
            raise EvaluationError(f"{folder}: its {what} has other rules than that of the candidates")
        model = self._kind.load(folder)
        return self._score(model, self._wrap(model), self._eval_set(split).drawn_in(own), started)

    def ask(self, folder: Path, items: Sequence[EvalItem], own: OwnDrawing = AS_TASKS_SAY) -> Sample:
        """Load a written checkpoint as any user would, and ask it the one of some items with the shortest prompt.

        own: its recipe's.
        """
        model = self._kind.load(folder).to(self._spec.resources.device)
        return self._suite.drawn_in(own).ask(model, self._kind.load_processor(folder), items)

    def ask_candidate(self, recipe: Recipe, item: EvalItem) -> Sample:
        """Build a recipe's model in memory and ask it one item."""
        return self._suite.drawn_in(own_drawing(recipe)).ask(self._live_model(recipe), self._processor, [item])

    def _live_model(self, recipe: Recipe) -> Any:
        if self._live is None or self._live[0] != recipe.digest:
            self._live = None  # a recipe that fails leaves the model half rewritten
            model = recipe.live_model(self._models)
            self._wrapped.put(model)
            self._live = recipe.digest, model
        return self._live[1]

    def _score(self, model: Any, wrapped: WrappedModel, eval_set: EvalSet[WrappedModel], started: float) -> ItemResults:
        watch = self._kind.head(model).register_forward_hook(_refuse_non_finite)
        try:
            scores = eval_set.score(wrapped)
        finally:
            watch.remove()
        return ItemResults(eval_set.digest, scores, time.monotonic() - started)

    def _wrap(self, model: Any) -> WrappedModel:
        resources = self._spec.resources
        return self._suite.wrap(model, self._processor, resources.device, resources.batch_size)

    def _eval_set(self, split: Split) -> EvalSet[WrappedModel]:
        if split not in self._eval_sets:
            whole = self._suite.build(split, self._processor, self._setting)
            share = self._spec.search_share if split is Split.SEARCH else 1.0
            self._eval_sets[split] = whole if share == 1 else whole.sample(share)
        return self._eval_sets[split]

    def _round_sets(self, split: Split) -> Sequence[EvalSet[WrappedModel]]:
        if split not in self._rounds:
            self._rounds[split] = self._eval_set(split).rounds(self._spec.rounds, self._wrapped)
        return self._rounds[split]

    @cached_property
    def _setting(self) -> tuple[str, ...]:
        """Everything else that decides scores: the device, the batch size, merging's code and the model's settings."""
        resources, folder = self._spec.resources, self._spec.config_folder
        settings = [name for name in self._kind.setting_files if (folder / name).is_file()]
        digests = (f"{name} {hashlib.sha256((folder / name).read_bytes()).hexdigest()}" for name in settings)
        code = sources_digest(Path(merging.__file__).parent, NOT_SCORING)
        return (f"device {resources.device}", f"batch size {resources.batch_size}", f"merging {code}", *digests)

    @property
    def _kind(self) -> ModelKind:
        return KINDS[self._spec.kind]

    @cached_property
    def _suite(self) -> TaskSuite:
        spec = self._spec
        return SUITES[spec.kind](spec.skills, spec.task_folders, spec.sizes, spec.seed, dict(spec.judges))

    @cached_property
    def _processor(self) -> object:
        from merging.kinds.picture_size import with_picture_size

        with with_picture_size(self._spec.config_folder, self._spec.picture_size) as folder:
            return self._kind.load_source_processor(folder, self._spec.template)

    @cached_property
    def _wrapped(self) -> WrappedModel:
        """The live model, ready to be asked; what it prepares for an evaluation set serves every candidate."""
        return self._wrap(self._models.model)

    @cached_property
    def _models(self) -> LiveCandidates:
        from bot.hub.resolver import open_sources
        from merging.tokenizers.aligned import open_kept

        spec = self._spec
        folders = dict(spec.checkpoints)
        sources = open_sources(spec.sources, folders, spec.config_folder)
        if spec.vocabulary is not None:
            sources = open_kept(spec.vocabulary, sources)
        return self._kind.live(
            spec.config_folder, sources, dtype=spec.dtype, device=spec.resources.device, carrier=spec.config_source
        )


def _refuse_non_finite(_module: Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
    """Forward hook on the head: NaN must fail loudly, because an argmax over NaN would still give an answer.

    output: a head's logits, or a tuple that begins with what a denoiser takes for noise.
    """
    values = output[0] if isinstance(output, tuple) else output
    if not values.isfinite().all():
        raise NotFiniteError("the model's output is not finite (NaN or infinity)")

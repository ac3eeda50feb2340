"""A merge of a recipe file before its weights: what it is made of, and what other merges of the file see of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock

from torch import Tensor

from bot.hub.client import Hub
from bot.merge_command.origins import Origin
from bot.merge_command.stages import Stage
from merging.errors import MergingError
from merging.mergekit.config import ModelName
from merging.models.stored_model import StoredModel
from merging.sources.family import TensorHeader
from merging.sources.weights import Weights
from merging.tokenizers.chat_template import with_chat_template
from merging.tokenizers.comparison import Tokenizer, read_tokenizer
from merging.tokenizers.source_tokenizer import CONFIG, TOKENIZER
from merging.tokenizers.view import vocabulary_views
from merging.tokenizers.vocabulary import Vocabulary
from merging.writing.assembly import AssembledWeights, Assembly
from merging.writing.release import config_text
from merging.writing.shards import Merge


@dataclass(frozen=True)
class PlannedStage:
    """models: each a folder, a repo, or the stage that makes it. vocabulary: the result's, if it is built anew."""

    stage: Stage
    models: Mapping[ModelName, Model]
    vocabulary: Vocabulary | None
    assembly: Assembly

    @property
    def config_source(self) -> Model:
        """Whose config and tokenizer the result has."""
        return self.models[self.stage.config.config_source]

    @property
    def pinned(self) -> str:
        """What draws of later stages are keyed by."""
        return str(self.stage.name)

    @cached_property
    def stored_model(self) -> StoredModel:
        """The result as a model."""
        return self.assembly.stored_model

    @property
    def headers(self) -> Mapping[str, TensorHeader]:
        """Of the result's tensors."""
        return self.stored_model.stored

    @property
    def tokenizer(self) -> Tokenizer | None:
        """What the result's tokenizer.json means."""
        if self.vocabulary is None:
            return self.config_source.tokenizer
        words = self.vocabulary.files.get(TOKENIZER)
        return read_tokenizer(words) if words else None

    def companions(self, sources: Path) -> dict[str, bytes]:
        """The files beside the result's weights and its config."""
        return self._files(lambda model: model.companions(sources))

    def small_files(self, hub: Hub) -> dict[str, bytes]:
        """The same and config.json, before anything is fetched."""
        return self._files(lambda model: model.small_files(hub)) | {CONFIG: config_text(self.assembly.config)}

    def _files(self, of: Callable[[Model], dict[str, bytes]]) -> dict[str, bytes]:
        """The donor's, or those of the vocabulary, with the chat template that is asked for. of: a model's own."""
        files = of(self.config_source) if self.vocabulary is None else dict(self.vocabulary.files)
        template = self.stage.config.chat_template
        return files if template is None else with_chat_template(files, template, list(map(of, self.models.values())))

    def maker(self, sources: Path, seed: int) -> Merge:
        """The function that makes a tensor of the result; all weights are here by now. seed: of random draws.

        Raises:
            ShoalError: models that cannot be merged after all, now that they are here.
        """
        weights = self._opened(sources, seed)
        names = {name: model.pinned for name, model in self.models.items()}
        if self.vocabulary is None:
            return self.assembly.maker(lambda model, tensor: weights[model].tensor(tensor), names, seed)
        views = vocabulary_views(self.vocabulary, weights, by_token(self.models))
        make = self.assembly.maker(lambda model, tensor: views[model].tensor(tensor), names, seed)
        return _one_at_a_time(make, self.assembly.vocabulary)

    def _opened(self, sources: Path, seed: int) -> dict[ModelName, Weights]:
        found: dict[ModelName, Weights] = {}
        reasons = {}
        for name, model in self.models.items():
            if isinstance(model, PlannedStage):
                found[name] = model.open_weights(sources, seed)
                continue
            try:
                found[name] = model.open_weights(sources)
            except MergingError as error:
                reasons[name] = f"{str(error).removeprefix(f'{model.lies_in(sources)}: ')}; name another model"
        if reasons:
            raise self.stage.fault_error(self.stage.of_models(reasons))
        return found

    def open_weights(self, sources: Path, seed: int) -> Weights:
        """The result's weights, made when they are asked for."""
        return AssembledWeights(self.pinned, self.assembly, self.maker(sources, seed))


def _one_at_a_time(make: Merge, names: frozenset[str]) -> Merge:
    """The same, but for these tensors: of each, every model's rows are in memory in a new order."""
    alone = Lock()

    def make_alone(name: str, memory: Tensor) -> Tensor:
        with alone if name in names else nullcontext():
            return make(name, memory)

    return make_alone


Model = Origin | PlannedStage
"""What a merge reads: a model that is there, or another merge of the same file."""


def by_token(models: Mapping[ModelName, Model]) -> dict[ModelName, dict[str, str]]:
    """For each model the tensors with a row per token: name in the result → name in its files."""
    return {name: model.stored_model.by_token for name, model in models.items()}

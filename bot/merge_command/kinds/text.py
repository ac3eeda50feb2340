"""The plan of one merge of models of text, with pictures or without, made before any weights are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock

from torch import Tensor

from bot.hub.client import Hub
from bot.merge_command.planned import InputModel, PlannedStage, Writing, open_models
from merging.dtypes import element_bytes
from merging.identity import ModelId
from merging.mergekit.component_limits import JOINED_FILTERS, component_limits
from merging.mergekit.module_names import VISION_LANGUAGE_MODULES
from merging.models.building import build_schema
from merging.models.carrier import carry
from merging.models.components import language_names
from merging.sources.weights import Weights
from merging.tensor_names import count_layers, parse_name, renumber
from merging.tokenizers.chat_template import add_chat_template
from merging.tokenizers.comparison import TokenizerDigests, digest_tokenizer
from merging.tokenizers.release_files import release_files
from merging.tokenizers.source_tokenizer import CONFIG, TOKENIZER
from merging.tokenizers.view import vocabulary_views
from merging.tokenizers.vocabulary import Vocabulary
from merging.writing.release import Contents, add_documents, render_config, write_folder
from merging.writing.shards import Merge


@dataclass(frozen=True)
class TextStage(PlannedStage):
    """A merge of models of text. vocabulary: the result's vocabulary; None where all models have the same one."""

    vocabulary: Vocabulary | None

    @property
    def config_role(self) -> str:
        """Its config and tokenizer."""
        return "config and tokenizer"

    @cached_property
    def mergekit_limits(self) -> tuple[str, ...]:
        """What somebody should know who runs the merge with mergekit, whose results may lack tensors."""
        joined = (JOINED_FILTERS,) if self.stage.config.joins_filters else ()
        if not self.assembly.components:
            return joined
        base_first = sorted(self.models.items(), key=lambda item: item[0] != self.stage.config.base)
        inside = [str(name) for name, model in base_first if not model.stored_model.components]
        renamed = [(str(name), odd) for name, model in base_first if (odd := model.renamed_tensor)]
        modules = self.stage.config.modules
        named = {VISION_LANGUAGE_MODULES.others[name] for name in modules or ()}
        _, *others = self.assembly.components
        left_out = None if modules is None else [name for name in others if name not in named]
        kind = str(self.assembly.config.get("model_type"))
        return (*joined, *component_limits(kind, inside, renamed, left_out))

    @property
    def tokenizer(self) -> TokenizerDigests | None:
        """The meaning of the result's tokenizer.json; None without one."""
        if self.vocabulary is None:
            return self.config_source.tokenizer
        content = self.vocabulary.files.get(TOKENIZER)
        return digest_tokenizer(content) if content else None

    def read_companions(self, sources: Path) -> dict[str, bytes]:
        """The files that belong to the result's weights and config, by name, once its models are fetched."""
        return self._files(lambda model: model.read_companions(sources))

    def read_small_files(self, hub: Hub) -> dict[str, bytes]:
        """Those files and config.json, before anything is fetched."""
        return self._files(lambda model: model.read_small_files(hub)) | {CONFIG: render_config(self.assembly.config)}

    def _files(self, read: Callable[[InputModel], dict[str, bytes]]) -> dict[str, bytes]:
        """The files of the config source or of the vocabulary, with the chat template that the recipe asks for."""
        files = read(self.config_source) if self.vocabulary is None else dict(self.vocabulary.files)
        template = self.stage.config.chat_template
        return files if template is None else add_chat_template(files, template, list(map(read, self.models.values())))

    def tensor_maker(self, sources: Path, seed: int) -> Merge:
        """The function that makes a tensor of the result, once all models are fetched. seed: seed of random draws.

        Raises:
            ShoalError: models whose weights show that they cannot be merged.
        """
        weights: Mapping[ModelId, Weights] = open_models(self.stage, self.models, sources, seed)
        if self.assembly.components:
            lead = self.assembly.lead
            weights = carry(build_schema(self.models[lead].stored_model.config, str(lead)), weights, lead)
        ids = {name: model.id for name, model in self.models.items()}
        if self.vocabulary is None:
            return self.assembly.maker(weights, ids, seed)
        views = vocabulary_views(self.vocabulary, weights, rows_by_token(self.models))
        make = self.assembly.maker(views, ids, seed)
        return _one_at_a_time(make, self.assembly.vocabulary)

    def stored_names(self, sources: Path) -> dict[str, str]:
        """Name of each tensor in the result's files → its name in the merge, once the models are fetched.

        A model of several components has the names that the files of its lead have.
        """
        if not self.assembly.components:
            return {name: name for name in self.assembly.tasks}
        known = {name: stored for stored, name in self.config_source.stored_names(sources).items()}
        return {_stored_name(name, known): name for name in self.assembly.tasks}

    @property
    def extent(self) -> str:
        """The number of layers."""
        return f"{self.layers} layers"

    @property
    def layers(self) -> int:
        """Number of layers of the result."""
        return count_layers(language_names(self.assembly.shapes, self.assembly.components))

    @property
    def made_bytes(self) -> int:
        """Bytes of all weights."""
        return self.assembly.parameters * element_bytes(self.assembly.dtype)

    def write(self, target: Path, documents: Mapping[str, bytes], how: Writing) -> dict[str, str]:
        """Write weights, config, and the files that belong to them."""
        make, names = self.tensor_maker(how.sources, how.seed), self.stored_names(how.sources)
        shapes = {stored: self.assembly.shapes[name] for stored, name in names.items()}
        made = how.with_progress(lambda stored, memory: make(names[stored], memory))
        settings = {CONFIG: render_config(self.assembly.config)}
        files = release_files(self.read_companions(how.sources) | settings).files
        contents = Contents(shapes, self.assembly.dtype, made, add_documents(files, documents))
        return write_folder(target, contents, max_shard_bytes=how.max_shard_bytes)


def rows_by_token(models: Mapping[ModelId, InputModel]) -> dict[ModelId, dict[str, str]]:
    """For each model its tensors with a row per token: name in the result → name in its files."""
    return {name: model.stored_model.by_token for name, model in models.items()}


def _stored_name(name: str, known: Mapping[str, str]) -> str:
    """The name in the files of a tensor, or of one in a layer beyond the lead's. known: names of the lead's tensors."""
    layer = parse_name(name).layer
    return known[name] if name in known or layer is None else renumber(known[renumber(name, 0)], layer)


def _one_at_a_time(make: Merge, names: frozenset[str]) -> Merge:
    """`make`, but with only one of these tensors in progress at a time.

    Each of them needs all models' rows in memory in a new order, the largest tensors of most models.
    """
    alone = Lock()

    def make_alone(name: str, memory: Tensor) -> Tensor:
        with alone if name in names else nullcontext():
            return make(name, memory)

    return make_alone

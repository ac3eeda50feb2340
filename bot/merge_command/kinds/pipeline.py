"""The plan of one merge of pipelines of a recipe file, made before any weights are read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bot.hub.client import Hub
from bot.hub.resolver import ResolvedModel
from bot.merge_command.planned import InputModel, PlannedStage, Writing, open_models
from bot.merge_command.stages import Stage
from merging.dtypes import BITS, element_bytes
from merging.identity import ModelId
from merging.kinds import kind_of
from merging.mergekit.config import ConfigFault
from merging.mergekit.remedies import describe_value
from merging.pipelines.assembling.assembly import (
    PipelineAssembly,
    assemble_pipeline,
    carrier_of,
    find_mismatches,
    held_components,
    slice_of,
)
from merging.pipelines.assembling.tokenizers import digest_tokenizers, tokenizer_difference
from merging.pipelines.index import listed_components
from merging.pipelines.parts import TEXT_ENCODER
from merging.pipelines.weights import PipelineWeights, open_pipeline
from merging.pipelines.writing import PipelineContents, pipeline_index, write_pipeline_folder
from merging.sources.family import TensorHeader
from merging.writing.shards import Merge

_TOKENIZER_KEYS = ("tokenizer", "tokenizer_source")


@dataclass(frozen=True)
class PipelineStage(PlannedStage):
    """A merge of pipelines: pipelines and parts of such in folders, files and repos, and results of other stages.

    assembly: how every tensor of the result is made, and whose everything else is.
    """

    assembly: PipelineAssembly

    @property
    def config_role(self) -> str:
        """It is the carrier."""
        return "carrier"

    @property
    def tokenizer(self) -> None:
        """None: each text encoder has one of its own."""
        return

    @property
    def mergekit_limits(self) -> tuple[str, ...]:
        """That mergekit cannot run the merge."""
        refusal = kind_of(self.assembly.config).mergekit_refusal
        return (refusal,) if refusal else ()

    @property
    def extent(self) -> str:
        """The number of the denoiser's stages."""
        return f"a denoiser of {self.layers} stages"

    @cached_property
    def layers(self) -> int:
        """Number of the denoiser's stages."""
        return kind_of(self.assembly.config).count_layers(self.assembly.shapes, self.assembly.components)

    @property
    def made_bytes(self) -> int:
        """Bytes of the weights that are made, and not copied."""
        return sum(
            element_bytes(self.assembly.dtype) * math.prod(shape)
            for shapes in self.assembly.made.values()
            for shape in shapes.values()
        )

    @cached_property
    def written_bytes(self) -> int:
        """Bytes of all weights that are written."""
        copied = self.assembly.copied
        read = (self._header(*task.sources[0]) for name, task in self.assembly.tasks.items() if _folder(name) in copied)
        return self.made_bytes + sum(math.prod(header.shape) * BITS[header.dtype] // 8 for header in read)

    def read_companions(self, sources: Path) -> dict[str, bytes]:
        """The files of all components by path, once the models are fetched."""
        return self._files(
            {folder: self.file_owner(folder).read_companions(sources) for folder in self.assembly.owners}
        )

    def read_small_files(self, hub: Hub) -> dict[str, bytes]:
        """The same before anything is fetched."""
        return self._files({folder: self.file_owner(folder).read_small_files(hub) for folder in self.assembly.owners})

    def file_owner(self, folder: str) -> ResolvedModel:
        """The pipeline whose settings and other files a component of the result has."""
        found = self.models[self.assembly.owners[folder]]
        if isinstance(found, PipelineStage):
            return found.file_owner(folder)
        assert isinstance(found, ResolvedModel)
        return found

    def stored_names(self, sources: Path) -> dict[str, str]:
        """Name of each tensor in the result's files, after its component's folder → its name in merges."""
        owners = self._open_owners(sources)
        return {owners[_folder(name)].stored_name(name): name for name in self.assembly.tasks}

    def tensor_maker(self, sources: Path, seed: int) -> Merge:
        """The function that makes a tensor of the result, once all models are fetched."""
        weights = open_models(self.stage, self.models, sources, seed)
        return self.assembly.maker(weights, {name: model.id for name, model in self.models.items()}, seed)

    def write(self, target: Path, documents: Mapping[str, bytes], how: Writing) -> dict[str, str]:
        """Write the result as a folder that diffusers loads."""
        made = how.with_progress(self.tensor_maker(how.sources, how.seed))
        owners = self._open_owners(how.sources)
        index = pipeline_index(self.assembly.config, owners)
        contents = PipelineContents(index, owners, self.assembly.made, self.assembly.dtype, made)
        return write_pipeline_folder(target, contents, documents, max_shard_bytes=how.max_shard_bytes)

    def _open_owners(self, sources: Path) -> dict[str, PipelineWeights]:
        folders = {folder: self.file_owner(folder).files.folder(sources) for folder in self.assembly.owners}
        opened = {place: open_pipeline(place) for place in dict.fromkeys(folders.values())}
        return {folder: opened[place] for folder, place in folders.items()}

    def _files(self, files: Mapping[str, Mapping[str, bytes]]) -> dict[str, bytes]:
        return {
            path: content
            for folder, own in files.items()
            for path, content in own.items()
            if path.startswith(f"{folder}/")
        }

    def _header(self, model: ModelId, name: str) -> TensorHeader:
        return self.models[model].stored_model.stored[name]


def plan_pipeline_stage(stage: Stage, models: Mapping[ModelId, InputModel], hub: Hub) -> PipelineStage:
    """Plan a merge of pipelines; ShoalError for everything that prevents it, a line each."""
    stored = {name: model.stored_model for name, model in models.items()}
    pipelines = {name: changed for name, model in models.items() if (changed := _changed_components(model)) is not None}
    if keys := [key for key in _TOKENIZER_KEYS if key in stage.document.data]:
        why = "each text encoder has a tokenizer of its own, which comes with it: leave it out"
        raise stage.fault_error([ConfigFault((keys[0],), describe_value(stage.document.data[keys[0]]), why)])
    with stage.errors():
        carrier = carrier_of(stage.config, pipelines)
        reasons = find_mismatches(stage.config, stored, carrier)
        reasons = {name: f"{reason}; name another model" for name, reason in reasons.items()}
        reasons = reasons or dict(_tokenizer_reasons(stage, models, carrier, hub))
        if reasons:
            raise stage.fault_error(stage.model_faults(reasons))
        return PipelineStage(stage, models, assemble_pipeline(stage.config, stored, carrier, pipelines))


def _changed_components(model: InputModel) -> frozenset[str] | None:
    """The components of a pipeline whose weights are not as in its files; None of what is only a part of one."""
    if isinstance(model, PipelineStage):
        return frozenset(model.assembly.made)
    assert isinstance(model, ResolvedModel)
    return model.changed_components


def _tokenizer_reasons(
    stage: Stage, models: Mapping[ModelId, InputModel], carrier: ModelId, hub: Hub
) -> Iterator[tuple[ModelId, str]]:
    """Models of which a text encoder is merged with the carrier's, though equal ids mean other tokens to it."""
    own = digest_tokenizers(models[carrier].read_small_files(hub))
    for folder in listed_components(models[carrier].stored_model.config):
        one = slice_of(stage.config, folder) if folder.startswith(TEXT_ENCODER) else None
        names = [entry.model for entry in one.inputs] if one else []
        holders = [name for name in names if folder in held_components(models[name].stored_model)]
        for name in holders if len(holders) > 1 else ():
            other = digest_tokenizers(models[name].read_small_files(hub))
            if difference := tokenizer_difference(own, other, folder):
                why = f"the tokenizer of its {folder} is not that of {carrier} ({difference})"
                yield name, f"{why}; name another model, or take {folder} from one under `modules`"


def _folder(name: str) -> str:
    return name.partition(".")[0]

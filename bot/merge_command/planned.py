"""What every kind of planned merge answers, so that a recipe file's merges can be planned, shown and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bot.hub.client import Hub
from bot.hub.resolver import ResolvedModel
from bot.merge_command.stages import Stage
from merging.errors import MergingError
from merging.identity import ModelId
from merging.models.stored_model import StoredModel
from merging.sources.family import TensorHeader
from merging.sources.weights import Weights
from merging.tokenizers.comparison import TokenizerDigests
from merging.writing.assembly import Assembly


@dataclass(frozen=True)
class Writing:
    """How a merge is written.

    sources: the folder of all that is fetched. seed: of the methods that draw random numbers. max_shard_bytes: largest
    size of a weight file. advance: called with each tensor's bytes and name.
    """

    sources: Path
    seed: int
    max_shard_bytes: int
    advance: Callable[[int, str], None]


class PlannedStage(Protocol):
    """A merge of a recipe file, planned before any weights are read; other merges use its result as a model."""

    @property
    def stage(self) -> Stage:
        """The merge as the file has it."""

    @property
    def models(self) -> Mapping[ModelId, InputModel]:
        """Its inputs: folders, repos, and results of other stages."""

    @property
    def assembly(self) -> Assembly:
        """How every tensor of the result is made."""

    @property
    def config_source(self) -> InputModel:
        """The model whose config the result has."""

    @property
    def config_role(self) -> str:
        """What the result has of that model, in words."""

    @property
    def id(self) -> ModelId:
        """The stage's name; random draws of later stages are keyed by it."""

    @property
    def stored_model(self) -> StoredModel:
        """The result as a model."""

    @property
    def headers(self) -> Mapping[str, TensorHeader]:
        """The headers of the result's tensors."""

    @property
    def tokenizer(self) -> TokenizerDigests | None:
        """The meaning of the result's tokenizer.json; None without one."""

    @property
    def renamed_tensor(self) -> str | None:
        """None: the result has no files yet."""

    @property
    def mergekit_limits(self) -> tuple[str, ...]:
        """What somebody should know who runs the merge with mergekit."""

    @property
    def extent(self) -> str:
        """The number of layers in words."""

    @property
    def layers(self) -> int:
        """Number of layers of the result, or of stages of its denoiser."""

    @property
    def made_bytes(self) -> int:
        """Bytes of the weights that are made."""

    @property
    def written_bytes(self) -> int:
        """Bytes of all weights that are written."""

    def read_companions(self, sources: Path) -> dict[str, bytes]:
        """The files that belong to the result's weights, by name, once its models are fetched."""

    def read_small_files(self, hub: Hub) -> dict[str, bytes]:
        """Those files and the config, before anything is fetched."""

    def stored_names(self, sources: Path) -> dict[str, str]:
        """Name of each tensor in the result's files → its name in the merge, once the models are fetched."""

    def open_weights(self, sources: Path, seed: int) -> Weights:
        """The result's weights; each tensor is made when it is asked for."""

    def write(self, target: Path, documents: Mapping[str, bytes], how: Writing) -> dict[str, str]:
        """Write the result into a new folder, whole or not at all; path → SHA-256 (hex)."""


InputModel = ResolvedModel | PlannedStage
"""An input of a merge: a model in a folder or on the Hub, or the result of another merge of the same file."""


def open_models(stage: Stage, models: Mapping[ModelId, InputModel], sources: Path, seed: int) -> dict[ModelId, Weights]:
    """The weights of a merge's inputs, once they are fetched; ShoalError for those that cannot be merged."""
    found: dict[ModelId, Weights] = {}
    reasons = {}
    for name, model in models.items():
        if not isinstance(model, ResolvedModel):
            found[name] = model.open_weights(sources, seed)
            continue
        try:
            found[name] = model.open_weights(sources)
        except MergingError as error:
            reason = str(error).removeprefix(f"{model.files.folder(sources)}: ")
            reasons[name] = f"{reason}; name another model"
    if reasons:
        raise stage.fault_error(stage.model_faults(reasons))
    return found

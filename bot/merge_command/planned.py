"""What every kind of planned merge answers, so that a recipe file's merges can be planned, shown and written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from bot.hub.client import Hub
from bot.hub.resolver import ResolvedModel
from bot.merge_command.stages import Stage
from merging.errors import MergingError
from merging.identity import ModelId
from merging.models.stored_model import StoredModel
from merging.sources.family import TensorHeader
from merging.sources.weights import Weights
from merging.tokenizers.comparison import TokenizerDigests
from merging.writing.assembly import AssembledWeights, Assembly
from merging.writing.shards import Merge


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

    def with_progress(self, make: Merge) -> Merge:
        """The function that makes a tensor, followed by a call of `advance`."""

        def make_and_advance(name: str, memory: Tensor) -> Tensor:
            tensor = make(name, memory)
            self.advance(tensor.nbytes, name)
            return tensor

        return make_and_advance


@dataclass(frozen=True)
class PlannedStage(ABC):
    """A merge of a recipe file, planned before any weights are read; other merges use its result as a model.

    stage: the merge as the file has it. models: its inputs: folders, repos, and results of other stages.
    assembly: how every tensor of the result is made.
    """

    stage: Stage
    models: Mapping[ModelId, InputModel]
    assembly: Assembly

    @property
    def config_source(self) -> InputModel:
        """The model whose config the result has."""
        return self.models[self.assembly.lead]

    @property
    @abstractmethod
    def config_role(self) -> str:
        """What the result has of that model, in words."""

    @property
    def id(self) -> ModelId:
        """The stage's name; random draws of later stages are keyed by it."""
        return ModelId(str(self.stage.name))

    @cached_property
    def stored_model(self) -> StoredModel:
        """The result as a model."""
        return self.assembly.stored_model

    @property
    def headers(self) -> Mapping[str, TensorHeader]:
        """The headers of the result's tensors."""
        return self.stored_model.stored

    @property
    @abstractmethod
    def tokenizer(self) -> TokenizerDigests | None:
        """The meaning of the result's tokenizer.json; None without one."""

    @property
    def renamed_tensor(self) -> None:
        """None: the result has no files yet."""
        return

    @property
    @abstractmethod
    def mergekit_limits(self) -> tuple[str, ...]:
        """What somebody should know who runs the merge with mergekit."""

    @property
    @abstractmethod
    def extent(self) -> str:
        """The number of layers in words."""

    @property
    @abstractmethod
    def layers(self) -> int:
        """Number of layers of the result, or of stages of its denoiser."""

    @property
    @abstractmethod
    def made_bytes(self) -> int:
        """Bytes of the weights that are made."""

    @property
    def written_bytes(self) -> int:
        """Bytes of all weights that are written."""
        return self.made_bytes

    @abstractmethod
    def read_companions(self, sources: Path) -> dict[str, bytes]:
        """The files that belong to the result's weights, by name, once its models are fetched."""

    @abstractmethod
    def read_small_files(self, hub: Hub) -> dict[str, bytes]:
        """Those files and the config, before anything is fetched."""

    @abstractmethod
    def stored_names(self, sources: Path) -> dict[str, str]:
        """Name of each tensor in the result's files → its name in the merge, once the models are fetched."""

    @abstractmethod
    def tensor_maker(self, sources: Path, seed: int) -> Merge:
        """The function that makes a tensor of the result, once all models are fetched. seed: seed of random draws.

        Raises:
            ShoalError: models whose weights show that they cannot be merged.
        """

    def open_weights(self, sources: Path, seed: int) -> Weights:
        """The result's weights; each tensor is made when it is asked for."""
        return AssembledWeights(str(self.id), self.assembly, self.tensor_maker(sources, seed))

    @abstractmethod
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

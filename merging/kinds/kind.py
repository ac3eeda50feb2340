"""The protocol of a kind of model: which models belong to it, their parts, and how they are built and loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from merging.partition import Partition

if TYPE_CHECKING:
    from torch import nn

    from merging.identity import ModelId
    from merging.recipes.path import PathRecipe
    from merging.recipes.recipe import Recipe
    from merging.recipes.weight_merge import WeightMerge
    from merging.sources.family import TensorHeader
    from merging.sources.weights import AdaptedWeights, Weights

MIB = 2**20

LANGUAGE, VISION_TOWER, PROJECTOR = "language", "vision tower", "projector"
"""The names of components."""

Components = Mapping[str, tuple[str, ...]]
"""Name of a component → the paths of the modules and tensors that it consists of."""

NO_COMPONENTS: Components = MappingProxyType({})
"""Those of a model that is a language model and nothing else."""


@dataclass(frozen=True)
class CompanionFile:
    """A file that may belong to a model of a kind, next to its weights and its config.json.

    path: its place in the model's folder. max_bytes: a larger one is refused. may_point_to_code: it is a JSON object,
    in which a key could name code to run.
    """

    path: str
    max_bytes: int = MIB
    may_point_to_code: bool = False


def read_architectures(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The classes that a config names: as transformers has them, or as diffusers has them in model_index.json."""
    named = config.get("architectures") or ([config["_class_name"]] if config.get("_class_name") else [])
    return tuple(".".join(map(str, name)) if isinstance(name, list) else str(name) for name in named)


class LiveCandidates(Protocol):
    """Models in memory that become one candidate after another."""

    @property
    def model(self) -> Any:
        """The model of weight merges, whichever recipe it holds now."""

    def merged(self, recipe: WeightMerge) -> Any:
        """The model of a merge of weights; MergingError for one that cannot be made."""

    def path(self, recipe: PathRecipe) -> Any:
        """The model of a path; MergingError for one that cannot be made."""


class ModelKind(Protocol):
    """A kind of model. How it is evaluated and shown is registered elsewhere, under its name."""

    @property
    def name(self) -> str:
        """The kind's name in every registry."""

    @property
    def library(self) -> str:
        """The library that loads a release, by its name on the Hub."""

    @property
    def pipeline_tag(self) -> str:
        """The Hub's name of the models' task."""

    @property
    def inner_kinds(self) -> tuple[str, ...]:
        """Names of the kinds whose models can be merged into a component of one of this kind; none of one component."""

    @property
    def other_components(self) -> tuple[str, ...]:
        """Names of the components that a model of this kind may have besides the one that is searched first.

        Where there are any, merges are built in a carrier, which gives the components that are kept.
        """

    @property
    def processor_files(self) -> tuple[str, ...]:
        """Files of which a model in a pool needs one, besides its tokenizer; none of a kind that has no others."""

    @property
    def processor_name(self) -> str:
        """What a person calls that which `load_processor` loads, where models have settings of it."""

    @property
    def auto_classes(self) -> tuple[str, str | None]:
        """The names of the library's classes that load a model, and what turns its inputs into tensors.

        None instead of the second where models have that in them.
        """

    @property
    def files(self) -> tuple[CompanionFile, ...]:
        """All files that may belong to a model, next to its weights and its config.json."""

    @property
    def draws(self) -> bool:
        """Whether models of this kind draw pictures, in a number of steps and in a size."""

    @property
    def has_paths(self) -> bool:
        """Whether a path through the layers of several models is a model of this kind."""

    @property
    def loose_parts(self) -> bool:
        """Whether models are published in loose parts, too: LoRAs in one file each, as diffusers and kohya save them,
        checkpoints in one file, denoisers alone. Else adapters are as peft saves them.
        """

    @property
    def spare_components(self) -> int:
        """Components of one name that candidates take whole from others, and that stay in memory beside their own."""

    @property
    def filters(self) -> tuple[str, ...]:
        """Folders of components that may give something else in the place of what a model of this kind makes."""

    @property
    def setting_files(self) -> tuple[str, ...]:
        """Files of a model that decide what it answers, besides its weights and what `load_processor` loads."""

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages by which models are loaded and asked, besides torch, transformers and safetensors."""

    @property
    def live_modules(self) -> tuple[str, ...]:
        """The modules of live candidates, for processes that import them before they are needed."""

    @property
    def mergekit_refusal(self) -> str | None:
        """A sentence on why mergekit cannot make any merge of this kind; None where it depends on the merge."""

    def find_refusal(self, config: Mapping[str, Any]) -> str | None:
        """Say in a few words why a model with this config is not of this kind; None if it is."""

    def read_settings(self, config: Mapping[str, object], layers: int) -> dict[str, object]:
        """The settings that decide what a model computes, for `carrier_mismatch`.

        layers: as `count_layers` gives them. MergingError for a config that cannot be read.
        """

    def carrier_mismatch(self, carrier: Mapping[str, object], other: Mapping[str, object]) -> str | None:
        """The reason, by its key, why a model cannot be merged with a carrier of this kind; None if it can.

        carrier, other: as `read_settings` gives them.
        """

    def component_mismatch(
        self, carrier: Mapping[str, object], other: Mapping[str, object], component: str
    ) -> str | None:
        """As `carrier_mismatch`, of a component besides the first, which is to be merged or taken whole as well."""

    def carried_headers(
        self,
        carrier: Mapping[str, object],
        config: Mapping[str, object],
        headers: Mapping[str, TensorHeader],
        label: str,
    ) -> dict[str, TensorHeader]:
        """The headers of a model that must be those of a carrier of this kind, by the names of the carrier's tensors.

        carrier, config: the carrier's config and the model's. headers: by the names that merges have for them. label:
        name of the model in errors. MergingError for tensors that the carrier has no place for.
        """

    def count_layers(self, tensor_names: Iterable[str], components: Components) -> int:
        """The number of layers, or of other stages, into which the component that is searched first can be cut.

        MergingError for a gap in their numbers.
        """

    def partition(
        self,
        tensor_names: Iterable[str],
        *,
        bands: int,
        modules_apart: bool,
        ends_apart: bool,
        components: Components = NO_COMPONENTS,
    ) -> Partition:
        """Divide a model into groups of tensors, in `bands` bands of layers. MergingError if it has too few.

        tensor_names: of a whole model, as `name_headers` gives them. components: its components, as `read_components`
        gives them. All of them are merged; `Partition.taking` says which are taken whole instead.
        """

    def name_stored(self, config: Mapping[str, object], label: str, names: Iterable[str]) -> dict[str, str]:
        """Name of a tensor in a model's files → the name that merges have for it.

        config: the model's. label: name of the model in errors. MergingError if the model cannot be built.
        """

    def find_components(self, config: Mapping[str, object], label: str) -> Components:
        """The components of a config's model, the one that is searched first; none where that is all of it.

        label: name of the config in errors. MergingError if the model cannot be built, or its parts not told apart.
        """

    def open(self, folder: Path) -> Weights:
        """The weights in a model's folder, by the names that merges have; MergingError names what is wrong."""

    def open_part(self, place: Path, carrier: Path) -> Weights | None:
        """The weights of what is only a part of a model of this kind, by the carrier's names; None for a whole model.

        place: its folder, or its file. carrier: the folder of the model within whose settings it is read. MergingError
        if it does not fit.
        """

    def adapt(self, base: Weights, adapter: Path, differences: Path | None = None) -> AdaptedWeights:
        """The weights of a model of this kind with an adapter; MergingError if it does not fit.

        base: as `open` gives them. adapter: its folder. differences: of what it adds, where that is stored.
        """

    def live(
        self,
        config_source: Path,
        sources: Mapping[ModelId, Weights],
        *,
        dtype: str,
        device: str = "cpu",
        carrier: ModelId | None = None,
    ) -> LiveCandidates:
        """Models in memory that recipes of these sources become.

        config_source: folder whose settings the models have. Give the release's writer the same one. carrier: the
        source that is read from it; the one whose folder it is where none is given.
        """

    def write(
        self,
        recipe: Recipe,
        weights: Mapping[ModelId, Weights],
        target: Path,
        documents: Mapping[str, bytes],
        *,
        max_shard_bytes: int,
        config_source: Path,
    ) -> dict[str, str]:
        """Write a release as `write_release` does."""

    def load(self, folder: Path) -> Any:
        """Load a written model as any user would."""

    def render_recipe(self, recipe: Recipe, weights: Mapping[ModelId, Weights], config_source: Path) -> str:
        """The recipe file of a release, as `write` puts it beside its weights; nothing but comments where none can be.

        weights: of every origin, of which only headers and configs are read. config_source: as `write` takes it.
        """

    def load_processor(self, folder: Path) -> object:
        """Load what turns inputs into tensors, such as a tokenizer, as any user would."""

    def load_source_processor(self, folder: Path, template: Path | None = None) -> object:
        """Load what turns inputs into tensors for candidates that have this source's files, as their release will.

        template: folder of the source whose chat template is used if this one has none.
        """

    def release_note(self, folder: Path) -> str | None:
        """A sentence on what a release reads otherwise than the source in this folder; None if there is nothing."""

    def head(self, model: Any) -> nn.Module:
        """The module whose output is watched for NaN and infinity."""

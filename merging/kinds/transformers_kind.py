"""What the kinds have in common whose models transformers builds from one config.json."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merging.kinds.kind import Components

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel

    from merging.identity import ModelId
    from merging.models.live import LiveModels
    from merging.recipes.recipe import Recipe
    from merging.sources.family import TensorHeader
    from merging.sources.weights import AdaptedWeights, Weights


class TransformersKind(ABC):
    """A kind of models of transformers."""

    library = "transformers"
    processor_name = "processor"
    draws = False
    has_paths = True
    loose_parts = False
    spare_components = 0
    filters: tuple[str, ...] = ()
    setting_files: tuple[str, ...] = ("config.json", "generation_config.json")
    packages: tuple[str, ...] = ("lm_eval",)
    live_modules: tuple[str, ...] = ("merging.models.live",)
    mergekit_refusal: str | None = None

    @abstractmethod
    def find_refusal(self, config: Mapping[str, Any]) -> str | None:
        """Say in a few words why a model with this config is not of this kind; None if it is."""

    @abstractmethod
    def name_tensors(self, model: PreTrainedModel, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of a model's state dict, by the names that merges have for them; what is taken apart is a view."""

    @abstractmethod
    def components(self, model: PreTrainedModel) -> Components:
        """The components of a model, the language model first; none where that is all of it."""

    @abstractmethod
    def build(self, config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
        """Build the model that a config describes, with any weights; none of its own code runs."""

    def find_components(self, config: Mapping[str, object], label: str) -> Components:
        """The components of the model that transformers builds."""
        from merging.models.building import build_schema

        return build_schema(config, label).components

    def read_settings(self, config: Mapping[str, object], layers: int) -> dict[str, object]:
        """The settings in config.json, with transformers' defaults."""
        from merging.models.settings import read_settings

        return read_settings(config, layers)

    def carrier_mismatch(self, carrier: Mapping[str, object], other: Mapping[str, object]) -> str | None:
        """The first setting in which a model, or the language model that it is, differs from the carrier's."""
        from merging.models.settings import carrier_mismatch

        return carrier_mismatch(carrier, other)

    def component_mismatch(
        self,
        carrier: Mapping[str, object],  # noqa: ARG002
        other: Mapping[str, object],  # noqa: ARG002
        component: str,  # noqa: ARG002
    ) -> str | None:
        """None: the settings of all components are compared in any case."""
        return None

    def carried_headers(
        self,
        carrier: Mapping[str, object],
        config: Mapping[str, object],
        headers: Mapping[str, TensorHeader],
        label: str,
    ) -> dict[str, TensorHeader]:
        """All of the model's headers; those of a language model as a part of the carrier."""
        from merging.models.carrier import carried_headers

        return carried_headers(carrier, config, headers, label)

    def count_layers(self, tensor_names: Iterable[str], components: Components) -> int:
        """The layers of the language model."""
        from merging.models.components import language_names
        from merging.tensor_names import count_layers

        return count_layers(language_names(tensor_names, components))

    def open(self, folder: Path) -> Weights:
        """The weights in the folder's safetensors files."""
        from merging.sources.renamed import open_checkpoint

        return open_checkpoint(folder)

    def open_part(self, place: Path, carrier: Path) -> Weights | None:  # noqa: ARG002
        """None: models of inner kinds, too, have folders and configs of their own."""
        return None

    def adapt(self, base: Weights, adapter: Path, differences: Path | None = None) -> AdaptedWeights:
        """The weights with a LoRA that peft saved."""
        from merging.sources.adapter import AdapterCheckpoint

        return AdapterCheckpoint.open(base, adapter, differences)

    def live(
        self,
        config_source: Path,
        sources: Mapping[ModelId, Weights],
        *,
        dtype: str,
        device: str = "cpu",
        carrier: ModelId | None = None,
    ) -> LiveModels:
        """The live model of weight merges, and those of paths."""
        from merging.models.live import LiveModels

        return LiveModels(config_source, sources, dtype=dtype, device=device, carrier=carrier)

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
        """Write weights, config, and the companion files of the config source."""
        from merging.writing.release import write_model

        return write_model(
            recipe, weights, target, documents, max_shard_bytes=max_shard_bytes, config_source=config_source
        )

    def render_recipe(self, recipe: Recipe, weights: Mapping[ModelId, Weights], config_source: Path) -> str:
        """As mergekit reads it."""
        return recipe.plan_files(weights, config_source).mergekit_yaml

    def release_note(self, folder: Path) -> str | None:
        """How the release's tokenizer differs from what transformers makes of the source's files."""
        from merging.tokenizers.release_files import release_note

        return release_note(folder)

    def head(self, model: PreTrainedModel) -> torch.nn.Module:
        """The language model head."""
        head: torch.nn.Module = model.get_output_embeddings()
        return head

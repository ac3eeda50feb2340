"""Image generators: pipelines of diffusers that draw a picture from a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merging.errors import MergingError
from merging.kinds.causal_lm import TOKENIZER_FILES
from merging.kinds.kind import NO_COMPONENTS, CompanionFile, Components, read_architectures
from merging.partition import Component, Partition, banded_stack, is_within
from merging.pipelines.blocks import count_stages, denoiser_blocks
from merging.pipelines.diffusers_classes import text_to_image_classes
from merging.pipelines.index import (
    DENOISER,
    DENOISERS,
    INDEX,
    MODELS,
    NO_MERGEKIT,
    SCHEDULER_CONFIG,
    TEXT_ENCODERS,
    TOKENIZERS,
    VAE,
    component_folder,
    component_name,
    denoiser_folder,
    find_index_fault,
)
from merging.pipelines.settings import pipeline_mismatch, text_encoder_mismatch
from merging.sources.model_config import read_model_config

if TYPE_CHECKING:
    from torch import nn

    from merging.identity import ModelId
    from merging.pipelines.live import LivePipelines
    from merging.recipes.recipe import Recipe
    from merging.sources.family import TensorHeader
    from merging.sources.weights import AdaptedWeights, Weights

SCHEDULER = f"scheduler/{SCHEDULER_CONFIG}"
_ENDING = "Pipeline"


class ImageGenerator:
    """The kind of image generators: the pipelines that diffusers itself maps to text-to-image."""

    name = "image"
    library = "diffusers"
    pipeline_tag = "text-to-image"
    inner_kinds: tuple[str, ...] = ()
    other_components: tuple[str, ...] = (*map(component_name, TEXT_ENCODERS), VAE)
    processor_files: tuple[str, ...] = ()
    processor_name = "scheduler"
    auto_classes = ("DiffusionPipeline", None)
    draws = True
    has_paths = False
    loose_parts = True
    filters: tuple[str, ...] = ("safety_checker",)
    packages: tuple[str, ...] = ("diffusers", "Pillow")
    live_modules: tuple[str, ...] = ("merging.pipelines.live", "diffusers.pipelines.pipeline_utils")
    mergekit_refusal: str | None = NO_MERGEKIT
    files = (
        CompanionFile(INDEX),
        *(CompanionFile(f"{folder}/config.json", may_point_to_code=True) for folder in MODELS),
        CompanionFile(SCHEDULER),
        CompanionFile("feature_extractor/preprocessor_config.json", may_point_to_code=True),
        *(CompanionFile(f"{folder}/generation_config.json", may_point_to_code=True) for folder in TEXT_ENCODERS),
        *(
            CompanionFile(f"{folder}/{file.path}", file.max_bytes, file.may_point_to_code)
            for folder in TOKENIZERS
            for file in TOKENIZER_FILES
        ),
    )

    @property
    def spare_components(self) -> int:
        """As many as a live pipeline keeps."""
        from merging.pipelines.live import MOST_KEPT

        return MOST_KEPT

    @property
    def setting_files(self) -> tuple[str, ...]:
        """All but the scheduler's settings: the configs of the components, and the tokenizers."""
        return tuple(file.path for file in self.files if file.path != SCHEDULER)

    def find_refusal(self, config: Mapping[str, Any]) -> str | None:
        """Refuse a pipeline that diffusers does not map to text-to-image, or that needs code or classes of its own."""
        names = read_architectures(config)
        if not names:
            return "its config names no architecture"
        try:
            if "_class_name" in config:
                return find_index_fault(config)
            odd = [name for name in names if not name.endswith(_ENDING) or name not in text_to_image_classes()]
        except MergingError as error:
            return str(error)
        return f"its architecture {odd[0][:60]} is not a text-to-image pipeline" if odd else None

    def partition(
        self,
        tensor_names: Iterable[str],
        *,
        bands: int,
        modules_apart: bool,
        ends_apart: bool,
        components: Components = NO_COMPONENTS,
    ) -> Partition:
        """The denoiser in even bands of its stages; every other component is one group."""
        if not components:
            raise MergingError("components: got none: name those of a pipeline")
        (denoiser, paths), *others = components.items()
        folder, names = paths[0].partition(".")[0], tuple(tensor_names)
        inside = tuple(name for name in names if name.startswith(f"{folder}."))
        blocks = denoiser_blocks(paths, inside, bands=bands, modules_apart=modules_apart, ends_apart=ends_apart)
        whole = banded_stack((), modules_apart=False, ends_apart=False)
        found = Partition(
            (
                Component(denoiser, (folder,), 0, blocks),
                *(Component(name, within, 0, whole) for name, within in others),
            )
        )
        for name in names:  # a module of one component may have the name of another component
            if not name.startswith(
                f"{next(one.within[0] for one in found.components if is_within(name, one.within))}."
            ):
                raise MergingError(f"tensor {name}: its name does not tell its component")
        return found

    def read_settings(self, config: Mapping[str, object], layers: int) -> dict[str, object]:  # noqa: ARG002
        """All of its model_index.json and of its components' configs."""
        return dict(config)

    def carrier_mismatch(self, carrier: Mapping[str, object], other: Mapping[str, object]) -> str | None:
        """What the denoisers are, the latents that they work on, what they predict, how wide their prompts are."""
        return pipeline_mismatch(carrier, other)

    def component_mismatch(
        self, carrier: Mapping[str, object], other: Mapping[str, object], component: str
    ) -> str | None:
        """Another class, or another size."""
        return text_encoder_mismatch(carrier, other, component_folder(component))

    def carried_headers(
        self,
        carrier: Mapping[str, object],
        config: Mapping[str, object],  # noqa: ARG002
        headers: Mapping[str, TensorHeader],
        label: str,  # noqa: ARG002
    ) -> dict[str, TensorHeader]:
        """Those of the denoiser: all else may be another, for the carrier's is kept."""
        folder = denoiser_folder(carrier)
        return {name: header for name, header in headers.items() if name.startswith(f"{folder}.")}

    def count_layers(self, tensor_names: Iterable[str], components: Components) -> int:
        """The stages of the denoiser."""
        paths = components[DENOISER]
        return count_stages(paths, tuple(name for name in tensor_names if is_within(name, paths)))

    def name_stored(self, config: Mapping[str, object], label: str, names: Iterable[str]) -> dict[str, str]:
        """The component's folder, then the names in memory."""
        from merging.pipelines.naming import name_pipeline_tensors

        return name_pipeline_tensors(config, label, names)

    def find_components(self, config: Mapping[str, object], label: str) -> Components:
        """The denoiser, by the paths of what it declares at its top level, then the other models by their folders."""
        from merging.pipelines.naming import pipeline_components

        return pipeline_components(config, label)

    def open(self, folder: Path) -> Weights:
        """The weights of all components."""
        from merging.pipelines.weights import open_pipeline

        return open_pipeline(folder)

    def open_part(self, place: Path, carrier: Path) -> Weights | None:
        """A denoiser alone, or a checkpoint in one file with all that is like the carrier's in it."""
        from merging.pipelines.partial.opening import is_partial, open_partial

        if not is_partial(place):
            return None
        return open_partial(place, read_model_config(carrier), "the carrier", leave_misfits=True)

    def adapt(self, base: Weights, adapter: Path, differences: Path | None = None) -> AdaptedWeights:
        """The pipeline with a LoRA of diffusers' or of kohya's."""
        from merging.pipelines.lora import open_lora
        from merging.pipelines.weights import PipelineWeights

        assert isinstance(base, PipelineWeights)
        return open_lora(base, adapter, differences)

    def live(
        self,
        config_source: Path,
        sources: Mapping[ModelId, Weights],
        *,
        dtype: str,
        device: str = "cpu",
        carrier: ModelId | None = None,  # noqa: ARG002
    ) -> LivePipelines:
        """The carrier's pipeline, whose merged components are rewritten, and others swapped."""
        from merging.pipelines.live import LivePipelines

        return LivePipelines(config_source, sources, dtype=dtype, device=device)

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
        """Write the merged components, and copy all others with the carrier's scheduler and tokenizers."""
        from merging.pipelines.writing import write_pipeline

        return write_pipeline(
            recipe, weights, target, documents, max_shard_bytes=max_shard_bytes, carrier=config_source
        )

    def render_recipe(self, recipe: Recipe, weights: Mapping[ModelId, Weights], config_source: Path) -> str:
        """As `shoal merge` reads it."""
        from merging.pipelines.assembling.recipe_writer import render_pipeline_recipe
        from merging.pipelines.parts import CarrierShapes, plan_parts

        (merge,) = recipe.parts
        assert merge.carrier is not None  # of every merge of a search
        shapes = CarrierShapes(weights[merge.carrier].config, weights, config_source)
        return render_pipeline_recipe(merge, plan_parts(merge, shapes), merge.carrier)

    def load(self, folder: Path) -> Any:
        """Load a written pipeline in the dtype of its denoiser."""
        from merging.pipelines.loading import load_release

        return load_release(folder)

    def load_processor(self, folder: Path) -> dict[str, object]:
        """The settings of the scheduler. A pipeline has its tokenizers itself: the recipe says whose they are."""
        from merging.sources.json_object import read_json_object

        return read_json_object(folder / SCHEDULER)

    def load_source_processor(self, folder: Path, template: Path | None = None) -> dict[str, object]:  # noqa: ARG002
        """The settings of the carrier's scheduler; there is no chat template."""
        return self.load_processor(folder)

    def release_note(self, folder: Path) -> str | None:  # noqa: ARG002
        """None: tokenizers are copied as they are."""
        return None

    def head(self, model: Any) -> nn.Module:
        """The denoiser."""
        found = [getattr(model, folder) for folder in DENOISERS if getattr(model, folder, None) is not None]
        denoiser: nn.Module = found[0]
        return denoiser

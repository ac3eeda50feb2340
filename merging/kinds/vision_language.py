"""Vision-language models: a language model that reads what a vision tower and a projector make of pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merging.kinds.causal_lm import TOKENIZER_FILES
from merging.kinds.kind import NO_COMPONENTS, PROJECTOR, VISION_TOWER, CompanionFile, Components, read_architectures
from merging.kinds.transformers_kind import TransformersKind
from merging.partition import Component, Partition, banded_stack, even_bands, find_routers, is_within
from merging.tensor_names import count_layers

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel, ProcessorMixin

_CODE_POINTER = "auto_map"


class VisionLanguage(TransformersKind):
    """The kind of vision-language models: those that transformers itself maps to image-text-to-text."""

    name = "vision-language"
    pipeline_tag = "image-text-to-text"
    inner_kinds: tuple[str, ...] = ("language",)
    other_components: tuple[str, ...] = (VISION_TOWER, PROJECTOR)
    processor_files: tuple[str, ...] = ("processor_config.json", "preprocessor_config.json")
    auto_classes = ("AutoModelForImageTextToText", "AutoProcessor")
    files = (
        *TOKENIZER_FILES,
        CompanionFile("processor_config.json", may_point_to_code=True),
        CompanionFile("preprocessor_config.json", may_point_to_code=True),
        CompanionFile("video_preprocessor_config.json", may_point_to_code=True),
    )

    def find_refusal(self, config: Mapping[str, Any]) -> str | None:
        """Refuse a config with an architecture that transformers does not map to image-text-to-text, or with code."""
        names = read_architectures(config)
        if not names:
            return "its config names no architecture"
        if "_class_name" in config:  # diffusers' own; to ask transformers takes a second
            return f"its architecture {names[0][:60]} is not a vision-language model"
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as MAPPING

        mapped = _as_names(MAPPING.get(str(config["model_type"]), ()) if "model_type" in config else MAPPING.values())
        if odd := [name for name in names if name not in mapped]:
            return f"its architecture {odd[0][:60]} is not a vision-language model"
        return f"it needs custom code ({_CODE_POINTER} in its config)" if config.get(_CODE_POINTER) else None

    def partition(
        self,
        tensor_names: Iterable[str],
        *,
        bands: int,
        modules_apart: bool,
        ends_apart: bool,
        components: Components = NO_COMPONENTS,
    ) -> Partition:
        """The language model in even bands; every other component is one group."""
        assert components  # every model of this kind has some
        (language, paths), *others = components.items()
        inside = tuple(name for name in tensor_names if is_within(name, paths))
        layers = count_layers(inside)
        stack = banded_stack(even_bands(layers, bands), modules_apart, ends_apart, routers=find_routers(inside))
        whole = banded_stack((), modules_apart=False, ends_apart=False)
        return Partition(
            (
                Component(language, paths, layers, stack),
                *(Component(name, within, 0, whole) for name, within in others),
            )
        )

    def name_tensors(self, model: PreTrainedModel, state: Mapping[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG002
        """Name tensors as they are named in memory: files of other versions of transformers have other names."""
        return dict(state)

    def name_stored(self, config: Mapping[str, object], label: str, names: Iterable[str]) -> dict[str, str]:
        """The names in memory, by transformers' own conversion of names at load."""
        from merging.models.transformers_names import memory_names

        return memory_names(config, label, names)

    def components(self, model: PreTrainedModel) -> Components:
        """Language model, vision tower, and the projector if it is not inside the tower."""
        from merging.models.components import vision_components

        return vision_components(model)

    def build(self, config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
        """Build the model by transformers' own class for its config."""
        from transformers import AutoModelForImageTextToText

        model: PreTrainedModel = AutoModelForImageTextToText.from_config(config, dtype=dtype, trust_remote_code=False)
        return model

    def load(self, folder: Path) -> PreTrainedModel:
        """Load a written model in its own dtype."""
        from transformers import AutoModelForImageTextToText

        model: PreTrainedModel = AutoModelForImageTextToText.from_pretrained(
            folder, dtype="auto", use_safetensors=True, trust_remote_code=False
        )
        return model.eval()

    def load_processor(self, folder: Path) -> ProcessorMixin:
        """Load tokenizer and image processor. Pictures are read by Pillow: that is the same on every machine.

        A processor of videos, which takes torchvision, is left out.
        """
        from transformers import AutoConfig, AutoProcessor
        from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

        known = PROCESSOR_MAPPING.get(type(AutoConfig.from_pretrained(folder, trust_remote_code=False)), AutoProcessor)
        if known is not AutoProcessor and "video_processor" in known.get_attributes():
            known = _without_videos(known)
        else:
            known = AutoProcessor
        processor: ProcessorMixin = known.from_pretrained(folder, trust_remote_code=False, backend="pil")
        return processor

    def load_source_processor(self, folder: Path, template: Path | None = None) -> ProcessorMixin:
        """Load the processor of a source as its release will have it, with another's chat template if it has none."""
        from merging.tokenizers.release_files import in_release_form

        with in_release_form(folder) as released:
            processor = self.load_processor(released)
        if template is not None and not getattr(processor, "chat_template", None):
            processor.chat_template = self.load_processor(template).chat_template
        return processor


def _as_names(mapped: Iterable[str | tuple[str, ...]] | str) -> set[str]:
    """The classes that transformers maps to: a name, or several of one model_type."""
    listed = [mapped] if isinstance(mapped, str) else mapped
    return {name for entry in listed for name in ([entry] if isinstance(entry, str) else entry)}


def _without_videos(processor: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """A processor's class, by the same name, that takes no processor of videos."""
    others = [name for name in processor.get_attributes() if name != "video_processor"]
    return type(processor.__name__, (processor,), {"get_attributes": classmethod(lambda _: others)})

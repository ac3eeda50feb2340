"""Single-file checkpoints in the community's layouts: converted by diffusers' own functions, a tensor at a time.

A file has no configs. Those of a pipeline in diffusers' layout, the carrier, say how large its components are, so that
nothing is looked up anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from merging.errors import MergingError
from merging.pipelines.diffusers_classes import component_class, import_diffusers
from merging.pipelines.index import COMPONENTS_KEY, DENOISERS, component_name, denoiser_folder, listed_components
from merging.pipelines.naming import build_on_meta, has_weights, name_pipeline_tensors, tensor_shapes
from merging.pipelines.partial.recording import Recording
from merging.pipelines.settings import PREDICTION
from merging.pipelines.weights import PipelineWeights
from merging.sources.checkpoint import Checkpoint, is_finite
from merging.sources.family import TensorHeader
from merging.sources.weights import Weights

if TYPE_CHECKING:
    from torch import nn

ENDING = ".safetensors"
PICKLED_ENDINGS = (".ckpt", ".pt", ".pth", ".bin")

_CODES: Mapping[str, torch.dtype] = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8},
    **{"BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2},
}
_TO_CODE: Mapping[torch.dtype, str] = {dtype: code for code, dtype in _CODES.items()}

_UNCONVERTIBLE = (KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError, AssertionError)

_PREDICTION_MARK = "v_pred"
"""A tensor by which files say that their denoiser predicts velocities, which nothing else in them shows."""

Recordings = Mapping[str, Recording | Tensor]


class ConvertedComponent(Weights):
    """A component of a checkpoint; each tensor is converted when it is asked for."""

    def __init__(self, path: Path, recordings: Recordings) -> None:
        """path: the checkpoint. recordings: by the names in the component."""
        self._recordings = recordings
        headers = {name: TensorHeader(name, tuple(one.shape), _TO_CODE[one.dtype]) for name, one in recordings.items()}
        super().__init__(path, headers)

    def tensor(self, name: str) -> Tensor:
        """A tensor: mostly a view of the mapped file."""
        self.header(name)
        found = self._recordings[name]
        return found.make() if isinstance(found, Recording) else found

    def verify(self) -> None:
        """Convert every tensor; MergingError names one that is not finite."""
        for name in self.names:
            if not is_finite(self.tensor(name)):
                raise MergingError(f"{self.folder}: tensor {name} holds NaN or infinite values")


def open_single_file(
    path: Path, carrier: Mapping[str, Any], label: str, *, leave_misfits: bool = False
) -> PipelineWeights:
    """The components in a checkpoint that the carrier has, too; it has at least the denoiser.

    carrier: its config. label: its name in errors. leave_misfits: leave components besides the denoiser out that are
    others than the carrier's. MergingError if diffusers cannot convert the file to such a pipeline, as when it is for
    another one.
    """
    if path.suffix in PICKLED_ENDINGS:
        raise MergingError(f"{path}: a pickled checkpoint is a program: save its weights as {ENDING}")
    file = Checkpoint.open(path.parent, path.name)
    return convert_single_file(path, file, carrier, label, leave_misfits=leave_misfits)


def convert_single_file(
    path: Path, file: Weights, carrier: Mapping[str, Any], label: str, *, leave_misfits: bool = False
) -> PipelineWeights:
    """As `open_single_file`. file: the tensors under the names in it, of which the headers alone are read."""
    listed, denoiser = listed_components(carrier), denoiser_folder(carrier)
    if _PREDICTION_MARK in file.headers and (said := _prediction(carrier)) != "v_prediction":
        raise MergingError(f"{path}: it is a checkpoint of v_prediction, {label} of {said}")
    components: dict[str, Weights] = {}
    for folder in (denoiser, *(one for one in listed if one != denoiser and has_weights(carrier, one))):
        try:
            found = _convert(path, _record(file), carrier, folder, label)
        except MergingError:
            if folder == denoiser or not leave_misfits:
                raise
            continue
        if found:
            components[folder] = ConvertedComponent(path, found)
        elif folder == denoiser:
            raise MergingError(f"{path}: {_why_no_denoiser(file, carrier, label)}")
    names = {f"{folder}.{name}": f"{folder}.{name}" for folder, one in components.items() for name in one.names}
    return PipelineWeights(path, components, names, (), carrier)


def _record(file: Weights) -> dict[str, Recording]:
    """The tensors of a file, none of them read."""
    found = {}
    for name, header in file.headers.items():
        if header.dtype not in _CODES:
            raise MergingError(f"{file.folder}: tensor {name} is of dtype {header.dtype}, which cannot be merged")
        outline = torch.empty(header.shape, dtype=_CODES[header.dtype], device="meta")
        found[name] = Recording.of(outline, partial(file.tensor, name))
    return found


def _convert(
    path: Path, file: dict[str, Recording], carrier: Mapping[str, Any], folder: str, label: str
) -> dict[str, Recording | Tensor]:
    """A component's tensors by the names that merges have, without its folder; none if the file has none of it."""
    library, class_name = listed_components(carrier)[folder]
    model = build_on_meta(carrier, folder, label)
    try:
        if library == "transformers":
            converted = _text_encoder(class_name, model, file)
        else:
            own, config = component_class(library, class_name), carrier[COMPONENTS_KEY][folder]
            converted = _diffusers_model(own, config, model, file)
        named = name_pipeline_tensors(carrier, label, [f"{folder}.{name}" for name in converted])
    except _UNCONVERTIBLE as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        what = f"diffusers cannot convert its {component_name(folder)} to that of {label}"
        raise MergingError(f"{path}: {what} ({reason})") from error
    found = {named[f"{folder}.{name}"]: one for name, one in converted.items()}
    shapes = tensor_shapes(carrier, folder, label)
    if not found.keys() & shapes.keys():
        return {}
    buffers = {f"{folder}.{name}" for name, _ in model.named_buffers()}
    if how := _difference(found, shapes, buffers):
        what = f"its {component_name(folder)} {how}"
        raise MergingError(f"{path}: {what}: it is a checkpoint of another model than {label}")
    return {name.removeprefix(f"{folder}."): found[name] for name in shapes if name in found}


def _difference(found: Recordings, shapes: Mapping[str, tuple[int, ...]], buffers: set[str]) -> str | None:
    """How a component's tensors differ from the carrier's, in a few words; None if they do not.

    What a text encoder or a VAE has besides is left out, as diffusers does it: files have scales and positions of older
    layouts. So may be buffers, which follow from the config.
    """
    if missing := next((name for name in shapes if name not in found and name not in buffers), None):
        return f"lacks {missing}"
    for name, shape in shapes.items():
        if name in found and (own := tuple(found[name].shape)) != shape:
            return f"has a {name} of {list(own)}, not {list(shape)}"
    denoisers = tuple(f"{folder}." for folder in DENOISERS)
    odd = next((name for name in sorted(found) if name not in shapes and name.startswith(denoisers)), None)
    return f"has {odd} besides" if odd else None


def _diffusers_model(own: Any, config: Mapping[str, Any], model: nn.Module, file: dict[str, Recording]) -> Recordings:
    """By the function that `from_single_file` of the model's class calls; a file of its own names is as it is."""
    import_diffusers()
    from diffusers.loaders import single_file_model

    if set(model.state_dict()) == set(file):
        return file
    known = _known_class(own)
    if known is None:
        return {}
    convert = single_file_model.SINGLE_FILE_LOADABLE_CLASSES[known]["checkpoint_mapping_fn"]
    found: Recordings = convert(config=config, checkpoint=dict(file))
    return found


def _known_class(own: Any) -> str | None:
    """The name by which diffusers knows how to convert files of a class; None if it does not."""
    from diffusers.loaders import single_file_model

    found: str | None = single_file_model._get_single_file_loadable_mapping_class(own)
    return found


def _text_encoder(class_name: str, model: Any, file: dict[str, Recording]) -> Recordings:
    """By the functions that `from_single_file` of a pipeline calls; none of a text encoder that they do not know."""
    import_diffusers()
    from diffusers.loaders import single_file_utils as known

    if class_name.startswith("CLIPText"):
        return next(_clip(model, file), {})
    if class_name == "T5EncoderModel" and known.is_t5_in_single_file(file):
        found: Recordings = known.convert_sd3_t5_checkpoint_to_diffusers(file)
        return found
    return {}


def _clip(model: Any, file: dict[str, Recording]) -> Iterator[Recordings]:
    """What diffusers' `create_diffusers_clip_model_from_ldm` loads: the first layout that the file has."""
    from diffusers.loaders import single_file_utils as known

    width = getattr(model, "text_model", model).embeddings.position_embedding.weight.shape[-1]

    def has(layout: str, *, any_width: bool = False) -> bool:
        key = known.CHECKPOINT_KEY_NAMES[layout]
        return key in file and (any_width or file[key].shape[-1] == width)

    openai: Callable[..., Recordings] = known.convert_ldm_clip_checkpoint
    laion: Callable[..., Recordings] = known.convert_open_clip_checkpoint
    if has("clip", any_width=True) or has("clip_sdxl"):
        yield openai(file)
    if has("clip_sd3"):
        yield {**openai(file, "text_encoders.clip_l.transformer."), "text_projection.weight": torch.eye(width)}
    if has("open_clip", any_width=True):
        yield laion(model, file, prefix="cond_stage_model.model.")
    if has("open_clip_sdxl"):
        yield laion(model, file, prefix="conditioner.embedders.1.model.")
    if has("open_clip_sdxl_refiner", any_width=True):
        yield laion(model, file, prefix="conditioner.embedders.0.model.")
    if has("open_clip_sd3"):
        yield openai(file, "text_encoders.clip_g.transformer.")


def _why_no_denoiser(file: Weights, carrier: Mapping[str, Any], label: str) -> str:
    if any("lora" in name for name in file.names):
        return "it is a LoRA, not a checkpoint; write it after its base as base+lora"
    library, class_name = listed_components(carrier)[denoiser_folder(carrier)]
    if _known_class(component_class(library, class_name)) is None:
        return (
            f"diffusers converts no checkpoints of {class_name}, which {label} has: name a pipeline in its own layout"
        )
    return f"it has no denoiser like that of {label}; it begins with {next(iter(file.names), 'nothing')[:100]}"


def _prediction(carrier: Mapping[str, Any]) -> str:
    return str(carrier[COMPONENTS_KEY].get("scheduler", {}).get(PREDICTION) or "epsilon")

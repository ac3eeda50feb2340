"""Pipelines and their components in memory, as diffusers loads them."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merging.dtypes import NAMES, torch_dtype
from merging.errors import MergingError
from merging.pipelines.diffusers_classes import component_class, import_diffusers
from merging.pipelines.index import INDEX, WeightFiles, denoiser_folder, listed_components
from merging.pipelines.weights import open_pipeline
from merging.sources.json_object import read_json_object

if TYPE_CHECKING:
    from torch import nn


def load_pipeline(folder: Path, components: Mapping[str, nn.Module], dtype: str) -> Any:
    """The pipeline of a folder, with these components in the place of its own, ready to draw; none of its code runs.

    MergingError if diffusers cannot build it.
    """
    pipelines = import_diffusers()
    with _quiet(), _errors_of(folder):
        pipeline = pipelines.DiffusionPipeline.from_pretrained(
            folder,
            torch_dtype=torch_dtype(dtype),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            **components,
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def build_again(pipeline: Any) -> Any:
    """A pipeline of the same components and settings, which has asked its components anew for what it keeps of them."""
    components = pipeline.components
    asked = inspect.signature(type(pipeline).__init__).parameters
    settings = {name: pipeline.config[name] for name in asked if name in pipeline.config and name not in components}
    with _quiet():
        found = type(pipeline)(**components, **settings)
    found.set_progress_bar_config(disable=True)
    return found


def load_component(folder: Path, files: WeightFiles, dtype: str) -> nn.Module:
    """A component of the pipeline in a folder, from its files. MergingError if its library cannot load it."""
    library, class_name = listed_components(read_json_object(folder / INDEX))[files.folder]
    named = {"dtype" if library == "transformers" else "torch_dtype": torch_dtype(dtype)}
    with _quiet(), _errors_of(folder / files.folder):
        component, loading = component_class(library, class_name).from_pretrained(
            folder / files.folder,
            variant=files.variant or None,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **named,
        )
    if lacking := sorted(loading["missing_keys"]):  # the libraries would draw them at random, or leave them empty
        raise MergingError(f"{folder / files.folder}: its files lack the weight {lacking[0]}")
    ready: nn.Module = component.eval().requires_grad_(False)
    return ready


def load_component_tokenizer(folder: Path, tokenizer: str) -> Any:
    """A tokenizer of the pipeline in a folder. MergingError if transformers cannot load it."""
    library, class_name = listed_components(read_json_object(folder / INDEX))[tokenizer]
    with _quiet(), _errors_of(folder / tokenizer):
        return component_class(library, class_name).from_pretrained(folder / tokenizer, local_files_only=True)


def load_release(folder: Path) -> Any:
    """A written pipeline in the dtype of its denoiser."""
    denoiser = denoiser_folder(read_json_object(folder / INDEX))
    headers = open_pipeline(folder).headers.values()
    dtype = next(NAMES[header.dtype] for header in headers if header.name.startswith(f"{denoiser}."))
    return load_pipeline(folder, {}, dtype)


@contextmanager
def _errors_of(place: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError) as error:
        raise MergingError(f"{place}: diffusers cannot load it ({' '.join(str(error).split())[:300]})") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' progress bars and advice on configs, which authors could follow and users cannot."""
    from transformers.utils import logging

    bars = import_diffusers().utils.logging
    was_shown, were_shown = logging.is_progress_bar_enabled(), bars.is_progress_bar_enabled()
    verbosity = bars.get_verbosity()
    logging.disable_progress_bar()
    bars.disable_progress_bar()
    bars.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        bars.set_verbosity(verbosity)
        if was_shown:
            logging.enable_progress_bar()
        if were_shown:
            bars.enable_progress_bar()

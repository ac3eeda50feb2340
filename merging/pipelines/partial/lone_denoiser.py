"""Denoisers alone, as fine-tunes of a UNet are published: its config and weights, without a model_index.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from merging.errors import MergingError
from merging.pipelines.diffusers_classes import is_known_class
from merging.pipelines.index import COMPONENTS_KEY, INDEX, denoiser_folder
from merging.pipelines.partial.denoiser_files import CONFIG, denoiser_files, find_lone_denoiser
from merging.pipelines.weights import PipelineWeights
from merging.sources.checkpoint import Checkpoint
from merging.sources.json_object import read_json_object
from merging.sources.weights import Weights


def within_carrier(carrier: Mapping[str, Any], denoiser: Mapping[str, Any]) -> dict[str, Any]:
    """The carrier's config with another denoiser in it, by its config; MergingError if diffusers lacks its class."""
    folder, class_name = denoiser_folder(carrier), str(denoiser.get("_class_name"))
    if not is_known_class("diffusers", class_name):
        raise MergingError(f"its {folder} is {class_name[:60]}, not a class of diffusers")
    components = {**carrier[COMPONENTS_KEY], folder: denoiser}
    return {**carrier, folder: ["diffusers", class_name], COMPONENTS_KEY: components}


def open_denoiser(folder: Path) -> Checkpoint:
    """The weights of a denoiser alone by the names in its files; MergingError names what is wrong."""
    listed = _list_files(folder)
    place = find_lone_denoiser(listed)
    if place is None:
        raise MergingError(f"{folder}: it is neither a pipeline, which has {INDEX}, nor a denoiser alone")
    try:
        files = denoiser_files(listed, place)
    except MergingError as error:
        raise MergingError(f"{folder}: {error}") from error
    return Checkpoint.open(folder / place, files.single, files.index)


def open_lone_denoiser(folder: Path, carrier: Mapping[str, Any]) -> PipelineWeights:
    """A denoiser's weights by the names of the carrier's; MergingError names the file that is wrong.

    carrier: its config.
    """
    weights = open_denoiser(folder)
    try:
        return place_denoiser(folder, weights, carrier, read_json_object(weights.folder / CONFIG))
    except MergingError as error:
        raise MergingError(f"{folder}: {str(error).removeprefix(f'{folder}: ')}") from error


def place_denoiser(
    folder: Path, weights: Weights, carrier: Mapping[str, Any], config: Mapping[str, Any]
) -> PipelineWeights:
    """A denoiser's weights by the names of the carrier's. config: the denoiser's."""
    own = denoiser_folder(carrier)
    names = {f"{own}.{name}": f"{own}.{name}" for name in weights.names}
    return PipelineWeights(folder, {own: weights}, names, (), within_carrier(carrier, config))


def _list_files(folder: Path) -> list[str]:
    found = (path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_file())
    return [path.relative_to(folder).as_posix() for path in found]

"""Which files of a folder, or of a repo, are those of a denoiser alone. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from merging.pipelines.index import DENOISERS, INDEX, WeightFiles, weight_files

CONFIG = "config.json"


def find_lone_denoiser(files: Iterable[str]) -> str | None:
    """The place of a denoiser among a repo's files: "" for the top, or "unet" or "transformer"; None if there is none.

    files: the paths of a repo that may hold one. A pipeline has an index, and is none.
    """
    paths = set(files)
    if INDEX in paths:
        return None
    if CONFIG in paths and any(path.startswith("diffusion_pytorch_model") for path in paths):
        return ""
    return next((folder for folder in DENOISERS if f"{folder}/{CONFIG}" in paths), None)


def denoiser_files(files: Iterable[str], place: str) -> WeightFiles:
    """The weight files of the denoiser at a place that `find_lone_denoiser` gave; MergingError if none are whole.

    files: the paths of all that is there. The result's are within the place, but for its `paths`.
    """
    start = f"{place}/" if place else ""
    inside = [path.removeprefix(start) for path in files if path.startswith(start)]
    folder = place or DENOISERS[0]
    found = weight_files({folder: ["diffusers", "Model"]}, [f"{folder}/{name}" for name in inside])[folder]
    return replace(found, folder=place)

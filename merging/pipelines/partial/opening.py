"""Opens what is only a part of a pipeline, within the carrier's config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from merging.pipelines.partial.denoiser_files import find_lone_denoiser
from merging.pipelines.partial.lone_denoiser import open_lone_denoiser
from merging.pipelines.partial.single_file import open_single_file
from merging.pipelines.weights import PipelineWeights


def is_partial(place: Path) -> bool:
    """Whether a path is a file of weights, or a folder with a denoiser alone."""
    if place.is_file():
        return True
    found = (path.relative_to(place).as_posix() for pattern in ("*", "*/*") for path in place.glob(pattern))
    return find_lone_denoiser(found) is not None


def open_partial(
    place: Path, carrier: Mapping[str, Any], label: str, *, leave_misfits: bool = False
) -> PipelineWeights:
    """The weights of a part by the names that merges have; MergingError if it does not fit.

    carrier: its config. label: its name in errors. leave_misfits: as `open_single_file` takes it.
    """
    if not place.is_file():
        return open_lone_denoiser(place, carrier)
    return open_single_file(place, carrier, label, leave_misfits=leave_misfits)

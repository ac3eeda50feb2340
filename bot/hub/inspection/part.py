"""Reads what can be known of a part of a pipeline in a repo: a checkpoint in one file, or a denoiser alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.hub.answers.failures import HubForbidden, HubNotFound, HubRefused, TransferFailed
from bot.hub.client import Hub
from bot.hub.discovery.candidate import Candidate
from bot.hub.discovery.rules import PART, first_refusal_among
from bot.hub.inspection.lora import choose_adapter_file
from bot.hub.inspection.member import RemoteWeights, Unfit
from bot.hub.inspection.reading import check_measured, read_remote_headers, read_remote_json, read_shards
from merging.errors import MergingError
from merging.pipelines.partial.lone_denoiser import CONFIG, denoiser_files, find_lone_denoiser
from templates.escaping import plain

if TYPE_CHECKING:
    from merging.pipelines.weights import PipelineWeights


def choose_part(candidate: Candidate, file: str | None) -> Candidate | None:
    """The candidate with the files that are meant: the named one, or those of a denoiser alone; None if there is none.

    Unfit for a file that is not there, and for a denoiser without whole weights in safetensors.
    """
    if file is not None:
        return choose_adapter_file(candidate, file)
    paths = [one.path for one in candidate.files]
    if (place := find_lone_denoiser(paths)) is None:
        return None
    try:
        weights = denoiser_files(paths, place).paths
    except MergingError as error:
        raise Unfit(str(error)) from error
    return replace(candidate, part_files=frozenset({_within(place, CONFIG), *weights}))


def inspect_part(
    hub: Hub, candidate: Candidate, carrier: Mapping[str, Any], label: str
) -> tuple[RemoteWeights, PipelineWeights]:
    """A part in its files, and its tensors by the names that merges have, of which none can be read yet.

    carrier: its config. label: its name in errors.

    Raises:
        Unfit: it is none that can be merged, or it does not fit the carrier.
        ShoalError: the Hub cannot be asked.
    """
    from merging.models.stored_model import HeaderOnlyWeights  # with torch
    from merging.pipelines.partial.lone_denoiser import place_denoiser
    from merging.pipelines.partial.single_file import convert_single_file

    if reason := first_refusal_among(PART, candidate):
        raise Unfit(f"{reason}; name another model")
    check_measured(candidate)
    try:
        if (file := candidate.adapter_file) is not None:
            headers = read_remote_headers(hub, candidate, file)
            weights = HeaderOnlyWeights(candidate.repo, headers)
            return RemoteWeights(candidate, headers), convert_single_file(Path(file), weights, carrier, label)
        paths = [one.path for one in candidate.files]
        place = find_lone_denoiser(paths) or ""
        files, config = denoiser_files(paths, place), read_remote_json(hub, candidate, _within(place, CONFIG))
        single, index = _within(place, files.single), _within(place, files.index)
        shards = read_shards(hub, candidate, single, index, read_remote_headers)
        headers = {name: header for found in shards.values() for name, header in found.items()}
        weights = HeaderOnlyWeights(candidate.repo, headers)
        return RemoteWeights(candidate, headers), place_denoiser(Path(candidate.repo), weights, carrier, config)
    except MergingError as error:
        raise Unfit(plain(str(error))) from error
    except (HubNotFound, HubForbidden, HubRefused, TransferFailed) as error:
        raise Unfit(f"found, but {str(error).removeprefix(f'{candidate.repo}: ')}") from error


def _within(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name

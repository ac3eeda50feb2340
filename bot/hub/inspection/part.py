"""Reads what can be known of a part of a pipeline in a repo: a checkpoint in one file, or a denoiser alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.hub.client import Hub
from bot.hub.discovery.candidate import Candidate
from bot.hub.discovery.meant_files import with_checkpoint, with_denoiser
from bot.hub.discovery.rules import PART, first_refusal_among
from bot.hub.inspection.member import Member, RemoteWeights, Unfit
from bot.hub.inspection.reading import (
    check_config,
    check_measured,
    read_remote_headers,
    read_remote_json,
    read_shards,
    reading_files,
)
from merging.errors import MergingError
from merging.kinds import KINDS
from merging.pipelines.partial.denoiser_files import CONFIG, denoiser_files, find_lone_denoiser
from templates.escaping import plain

if TYPE_CHECKING:
    from merging.pipelines.weights import PipelineWeights


def choose_part(candidate: Candidate, file: str | None) -> Candidate | None:
    """The candidate with the files that are meant: the named one, or those of a denoiser alone; None if there is none.

    Unfit for a file that is not there, and for a denoiser without whole weights in safetensors.
    """
    try:
        found = with_denoiser(candidate) if file is None else with_checkpoint(candidate, file)
    except MergingError as error:
        raise Unfit(plain(str(error))) from error
    return found if found.is_part else None


def read_part(hub: Hub, candidate: Candidate) -> RemoteWeights:
    """A part in its files, before it is compared with a carrier.

    Raises:
        Unfit: it is none that can be merged.
        ShoalError: the Hub cannot be asked.
    """
    if reason := first_refusal_among(PART, candidate):
        raise Unfit(f"{reason}; name another model")
    check_measured(candidate)
    with reading_files(candidate):
        if (file := candidate.checkpoint_file) is not None:
            return RemoteWeights(candidate, read_remote_headers(hub, candidate, file))
        paths = [one.path for one in candidate.files]
        place = find_lone_denoiser(paths) or ""
        files = denoiser_files(paths, place)
        single, index = _within(place, files.single), _within(place, files.index)
        shards = read_shards(hub, candidate, single, index, read_remote_headers)
        return RemoteWeights(candidate, {name: one for headers in shards.values() for name, one in headers.items()})


def inspect_part(
    hub: Hub, candidate: Candidate, carrier: Mapping[str, Any], label: str, *, leave_misfits: bool = False
) -> tuple[RemoteWeights, PipelineWeights]:
    """A part in its files, and its tensors by the names that merges have, of which none can be read yet.

    carrier: its config. label: its name in errors. leave_misfits: as `open_single_file` takes it. Raises as
    `read_part`, and Unfit if it does not fit the carrier.
    """
    from merging.models.stored_model import HeaderOnlyWeights  # with torch
    from merging.pipelines.partial.lone_denoiser import place_denoiser
    from merging.pipelines.partial.single_file import convert_single_file

    remote = read_part(hub, candidate)
    weights = HeaderOnlyWeights(candidate.repo, remote.headers)
    with reading_files(candidate):
        if (file := candidate.checkpoint_file) is not None:
            return remote, convert_single_file(Path(file), weights, carrier, label, leave_misfits=leave_misfits)
        place = find_lone_denoiser(one.path for one in candidate.files) or ""
        config = read_remote_json(hub, candidate, _within(place, CONFIG))
        check_config(config)
        return remote, place_denoiser(Path(candidate.repo), weights, carrier, config)


def inspect_within(hub: Hub, candidate: Candidate, carrier: Member) -> Member:
    """A part as a member of a pool: what it lacks, or what does not fit, is the carrier's. Raises as `inspect_part`."""
    from merging.pipelines.parts import find_tensor_fault  # with torch

    remote, weights = inspect_part(hub, candidate, carrier.config, carrier.repo, leave_misfits=True)
    for folder in weights.components:
        if fault := find_tensor_fault(weights.config, folder, weights.headers):
            raise Unfit(fault)
    return Member(
        candidate=candidate,
        headers=weights.headers,
        settings=KINDS[carrier.kind].read_settings(weights.config, carrier.layers),
        tokenizer=None,
        pieces=None,
        kind=carrier.kind,
        config=weights.config,
        stored=remote.headers,
        processor=carrier.processor,
        tokenizers=carrier.tokenizers,
        partial=True,
    )


def _within(place: str, name: str) -> str:
    return f"{place}/{name}" if place and name else name

"""Reads what can be known of a pipeline's LoRA without its weights: which file it is, and what it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.hub.client import Hub
from bot.hub.discovery.candidate import Candidate
from bot.hub.discovery.meant_files import with_checkpoint, with_lora
from bot.hub.inspection.member import RemoteWeights, Unfit
from bot.hub.inspection.reading import read_remote_headers, reading_files
from merging.errors import MergingError
from merging.pipelines.index import DENOISER, component_name
from merging.sources.family import TensorHeader
from templates.escaping import plain

if TYPE_CHECKING:
    from collections.abc import Mapping


def choose_lora(candidate: Candidate, file: str | None) -> Candidate:
    """The candidate with the LoRA that is meant: the named file, or its only LoRA. Unfit if there is none."""
    try:
        return with_lora(candidate, file)
    except MergingError as error:
        raise Unfit(plain(str(error))) from error


def tell_file(hub: Hub, candidate: Candidate) -> Candidate:
    """The candidate with its file as what it is, a LoRA or a checkpoint: the names of its tensors tell.

    Raises as `inspect_lora`.
    """
    if (file := candidate.meant_file) is None:
        return candidate
    with reading_files(candidate):
        headers = read_remote_headers(hub, candidate, file)
    return (with_lora if any("lora" in name for name in headers) else with_checkpoint)(candidate, file)


def inspect_lora(
    hub: Hub, candidate: Candidate, config: Mapping[str, Any], base: Mapping[str, TensorHeader]
) -> tuple[RemoteWeights, tuple[str, ...]]:
    """A LoRA in its file, on a pipeline, and the names of the components that it changes.

    config, base: the pipeline's, as `Member` has them.

    Raises:
        Unfit: it is none that can be merged, or it is for another base.
        ShoalError: the Hub cannot be asked.
    """
    from merging.pipelines.lora import check_lora  # with torch

    file = candidate.lora_file
    assert file is not None  # chosen before
    if (found := candidate.file(file)) is None or found.size is None:
        raise Unfit(f"the Hub does not give the size of its {file}")
    with reading_files(candidate):
        headers = read_remote_headers(hub, candidate, file)
        changed = check_lora(config, base, headers, f"its {file}")
    components = {component_name(name.partition(".")[0]) for name in changed}
    return RemoteWeights(candidate, headers), tuple(sorted(components, key=lambda name: (name != DENOISER, name)))

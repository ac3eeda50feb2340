"""Adapters (LoRA) that a merge puts on top of its models: folders here, and repos of the Hub at a commit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bot.hub.candidate import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Candidate
from bot.hub.client import Hub, HubForbidden, HubNotFound, HubRefused
from bot.hub.discovery import look
from bot.hub.download import place
from bot.hub.inspection import Member, Unfit
from merging.errors import MergingError
from merging.mergekit.config import ModelName
from merging.sources.family import TensorHeader
from merging.tokenizers.source_tokenizer import json_object
from templates.escaping import plain


@dataclass(frozen=True)
class AdapterOrigin:
    """name: as the file has it. folder: where it lies, None while it is on the Hub. member: the repo, if it is one."""

    name: ModelName
    folder: Path | None
    member: Member | None

    @property
    def pinned(self) -> str:
        """repo@sha, or the folder as it was given."""
        return str(self.member.ref) if self.member else str(self.name)

    def lies_in(self, sources: Path) -> Path:
        """Its folder; a repo's is below `sources`, once it is fetched."""
        if self.folder is None and self.member is not None:
            return place(sources, self.member.ref)
        assert self.folder is not None
        return self.folder


def find_adapter_folder(name: ModelName, folder: Path, base: dict[str, TensorHeader]) -> AdapterOrigin:
    """An adapter in a folder. base: headers of what it goes on top of, by stored name.

    Raises:
        Unfit: it cannot be used, or does not fit the base.
    """
    from merging.models.stored_model import HeaderOnlyWeights
    from merging.sources.adapter import AdapterCheckpoint

    try:
        AdapterCheckpoint.open(HeaderOnlyWeights(str(name), base), folder)
    except MergingError as error:
        raise Unfit(f"its adapter: {error}") from error
    return AdapterOrigin(name, folder, None)


def find_adapter_repo(name: ModelName, hub: Hub, base: dict[str, TensorHeader]) -> AdapterOrigin:
    """An adapter on the Hub, read as far as its weights are not needed.

    Raises:
        Unfit: it is not there, cannot be used, or does not fit the base.
        ShoalError: the Hub cannot be asked.
    """
    from merging.sources.adapter_plan import plan_adapter

    try:
        candidate = look(hub, name.path, name.revision)
        for path in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
            if candidate.file(path) is None:
                raise Unfit(f"its adapter {name} has no {path}; name an adapter saved by peft in safetensors")
        headers = _headers(hub, candidate)
        files = {ADAPTER_CONFIG: hub.read(candidate.repo, candidate.sha, ADAPTER_CONFIG)}
        config = json_object(str(name), files, ADAPTER_CONFIG)
        plan_adapter(str(name), config, headers, base)
    except (HubNotFound, HubForbidden, HubRefused, MergingError, ValueError) as error:
        raise Unfit(f"its adapter: {plain(str(error))}") from error
    return AdapterOrigin(name, None, Member(candidate, headers, {}, None, None))


def _headers(hub: Hub, candidate: Candidate) -> dict[str, TensorHeader]:
    from huggingface_hub.errors import SafetensorsParsingError

    read = hub.api.parse_safetensors_file_metadata
    try:
        found = hub.call(read, candidate.repo, ADAPTER_WEIGHTS, revision=candidate.sha)
    except SafetensorsParsingError as error:
        raise Unfit(f"the header of its adapter's {ADAPTER_WEIGHTS} cannot be read") from error
    return {name: TensorHeader(name, tuple(info.shape), info.dtype) for name, info in found.tensors.items()}

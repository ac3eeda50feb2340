"""Reads what can be known of a pipeline without its weights: each component's config, tensor headers, tokenizers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from bot.hub.client import Hub
from bot.hub.discovery.candidate import Candidate
from bot.hub.inspection.member import Member, Unfit
from bot.hub.inspection.processor import read_processor
from bot.hub.inspection.reading import (
    check_pointers,
    read_remote_file,
    read_remote_headers,
    read_remote_json,
    read_shards,
    read_tokenizer_json,
)
from merging.kinds import kind_of
from merging.models.components import read_components
from merging.pipelines.index import (
    COMPONENTS_KEY,
    INDEX,
    SCHEDULER,
    find_index_fault,
    listed_components,
    weight_files,
)
from merging.pipelines.naming import find_lack, name_pipeline_tensors
from merging.pipelines.parts import TEXT_ENCODER, TOKENIZER, find_tensor_fault, may_be_merged
from merging.sources.family import TensorHeader
from merging.sources.model_config import COMPONENT_CONFIGS
from merging.tokenizers.comparison import (
    VOCABULARY_FILES,
    TokenizerDigests,
    digest_vocabulary,
    digest_vocabulary_file,
)

_WHOLE, _VOCABULARY, _MERGES = "tokenizer.json", "vocab.json", "merges.txt"


def inspect_pipeline(hub: Hub, candidate: Candidate) -> Member:
    """Read a pipeline's small files and safetensors headers at its commit.

    Raises:
        Unfit: one of them is missing, too large or broken, points to code, or the tensors are not those of the config.
        MergingError: a component that its library cannot build.
        HubNotFound, HubForbidden, HubRefused, HubUnavailable, TransferFailed: the Hub does not give a file.
    """
    index = candidate.index
    if index is None:
        raise Unfit(f"its {INDEX} was not read")
    if fault := find_index_fault(index) or find_lack(index):
        raise Unfit(fault)
    check_pointers(INDEX, index)
    config = {**index, COMPONENTS_KEY: dict(_read_configs(hub, candidate, index))}
    kind = kind_of(config)
    wanted = {file.path for file in candidate.wanted_files}
    for file in kind.files:
        if file.may_point_to_code and file.path in wanted:
            check_pointers(file.path, read_remote_json(hub, candidate, file.path))
    stored = _read_headers(hub, candidate, config)
    names: dict[str, str] = {}
    for own, name in name_pipeline_tensors(config, "its files", stored).items():
        names.setdefault(name, own)  # a tied tensor may be stored twice
    headers = {name: replace(stored[own], name=name) for name, own in names.items()}
    for folder in sorted({name.partition(".")[0] for name in headers}):
        if may_be_merged(folder) and (fault := find_tensor_fault(config, folder, headers)):
            raise Unfit(fault)
    layers = kind.count_layers(headers, read_components(config, "its config"))
    return Member(
        candidate=candidate,
        headers=headers,
        settings=kind.read_settings(config, layers),
        tokenizer=None,
        pieces=None,
        kind=kind.name,
        config=config,
        stored=stored,
        processor=_read_scheduler(config),
        tokenizers=dict(_read_tokenizers(hub, candidate, index)),
    )


def _read_configs(hub: Hub, candidate: Candidate, index: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, object]]]:
    """Folder of a component → its config, of those that have one."""
    for folder in listed_components(index):
        paths = [f"{folder}/{name}" for name in COMPONENT_CONFIGS]
        if (path := next((path for path in paths if candidate.file(path)), None)) is not None:
            config = read_remote_json(hub, candidate, path)
            if config.get("quantization_config"):
                raise Unfit(f"its {folder} is quantised (quantization_config in its config)")
            yield folder, config


def _read_scheduler(config: Mapping[str, Any]) -> dict[str, object]:
    """The settings of a pipeline's scheduler, its class among them."""
    settings = config[COMPONENTS_KEY].get(SCHEDULER, {})
    return {"class": settings.get("_class_name"), **read_processor(settings)}


def _read_headers(hub: Hub, candidate: Candidate, index: Mapping[str, Any]) -> dict[str, TensorHeader]:
    """The headers of all components by the names in their files, after the component's folder."""
    found: dict[str, TensorHeader] = {}
    for folder, files in weight_files(index, [file.path for file in candidate.files]).items():
        single, listed = f"{folder}/{files.single}", f"{folder}/{files.index}"
        for headers in read_shards(hub, candidate, single, listed, read_remote_headers).values():
            found |= {f"{folder}.{name}": replace(one, name=f"{folder}.{name}") for name, one in headers.items()}
    return found


def _read_tokenizers(
    hub: Hub, candidate: Candidate, index: Mapping[str, Any]
) -> Iterator[tuple[str, TokenizerDigests]]:
    """Folder of a text encoder → the meaning of its tokenizer, of those that have one."""
    for folder in listed_components(index):
        tokenizer = folder.replace(TEXT_ENCODER, TOKENIZER, 1)
        if folder.startswith(TEXT_ENCODER) and tokenizer in listed_components(index):
            yield folder, _read_tokenizer(hub, candidate, tokenizer)


def _read_tokenizer(hub: Hub, candidate: Candidate, folder: str) -> TokenizerDigests:
    if candidate.file(f"{folder}/{_WHOLE}"):
        return read_tokenizer_json(hub, candidate, f"{folder}/{_WHOLE}")
    if candidate.file(f"{folder}/{_VOCABULARY}"):
        merges = f"{folder}/{_MERGES}"
        content = read_remote_file(hub, candidate, merges) if candidate.file(merges) else b""
        return digest_vocabulary(
            read_remote_json(hub, candidate, f"{folder}/{_VOCABULARY}"), content.decode(errors="replace")
        )
    for name in VOCABULARY_FILES:
        if (file := candidate.file(f"{folder}/{name}")) is not None:
            return digest_vocabulary_file(str(file.content_id))
    raise Unfit(f"its {folder} has none of {', '.join((_WHOLE, _VOCABULARY, *VOCABULARY_FILES))}")

"""Reads what can be known of a candidate without its weights: config, tokenizer, tensor headers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from bot.errors import ShoalError
from bot.hub.answers.failures import HubForbidden, HubNotFound, HubRefused, TransferFailed
from bot.hub.client import Hub
from bot.hub.discovery.candidate import ADAPTER_WEIGHTS, INDEX, SINGLE, Candidate
from bot.hub.inspection.member import Member, Unfit
from bot.hub.inspection.processor import read_processor
from merging.errors import MergingError
from merging.kinds import KINDS, kind_of
from merging.kinds.kind import NO_COMPONENTS, Components
from merging.models.components import read_components
from merging.pickles.names import PICKLE_INDEX, PICKLED_ADAPTER, SINGLE_PICKLE
from merging.sources.family import TensorHeader
from merging.sources.header_names import name_headers
from merging.sources.json_object import parse_json_object
from merging.tokenizers.comparison import TokenizerDigests, digest_tokenizer
from templates.escaping import plain

if TYPE_CHECKING:
    from merging.pickles.program import PickledTensor

T = TypeVar("T")

MAX_SHARDS = 200

_CODE_POINTERS = ("auto_map", "custom_pipelines")


@contextmanager
def reading_files(candidate: Candidate) -> Iterator[None]:
    """Files of a candidate are read in the block: Unfit for one that is broken, or that the Hub does not give."""
    try:
        yield
    except (MergingError, RecursionError) as error:
        raise Unfit(plain(str(error))) from error
    except (HubNotFound, HubForbidden, HubRefused, TransferFailed) as error:
        raise Unfit(f"found, but {str(error).removeprefix(f'{candidate.repo}: ')}") from error


def inspect_candidate(hub: Hub, candidate: Candidate) -> Member:
    """Read config.json, the tokenizer, the safetensors headers and the small files at the candidate's commit.

    Raises:
        Unfit: one of them is missing, too large or broken, or points to code.
        ShoalError: the Hub cannot be asked.
    """
    check_measured(candidate)
    with reading_files(candidate):
        if candidate.is_pipeline:
            from bot.hub.inspection.pipeline import inspect_pipeline

            return inspect_pipeline(hub, candidate)
        config = read_remote_json(hub, candidate, "config.json")
        check_config(config)
        kind = kind_of(config)
        stored = read_model_headers(hub, candidate, config)
        headers, components = _name_parts(config, stored) if kind.other_components else (stored, NO_COMPONENTS)
        layers = kind.count_layers(headers, components)
        if layers == 0:
            raise Unfit("it has no transformer layers")
        meaning = kind.read_settings(config, layers)
        tokenizer, pieces = read_tokenizer(hub, candidate)
        has_template = candidate.file("chat_template.jinja") is not None
        processor: dict[str, object] = {}
        for file in kind.files:
            if file.may_point_to_code and candidate.file(file.path):
                content = read_remote_json(hub, candidate, file.path)
                check_pointers(file.path, content)
                has_template |= bool(content.get("chat_template"))
                if file.path in kind.processor_files:
                    processor |= read_processor(content)
        return Member(
            candidate=candidate,
            headers=headers,
            settings=meaning,
            tokenizer=tokenizer,
            pieces=pieces,
            has_chat_template=has_template,
            kind=kind.name,
            config=config,
            stored=None if headers.keys() == stored.keys() else stored,
            processor=processor,
        )


def _name_parts(
    config: Mapping[str, object], stored: Mapping[str, TensorHeader]
) -> tuple[dict[str, TensorHeader], Components]:
    """The headers of a model of several components by the names that merges have for them, and those components.

    MergingError for tensors that are not those of the config's model.
    """
    from merging.models.stored_model import stored_model_from_headers  # with torch

    named = name_headers(config, stored, "its config")
    places = stored_model_from_headers("its files", config, named).stored
    return {name: replace(header, name=name) for name, header in places.items()}, read_components(config, "its config")


def inspect_source(hub: Hub, candidate: Candidate) -> Member:
    """As `inspect_candidate`, for a pool, whose merges are scored and whose sources share one vocabulary.

    Raises:
        Unfit: as `inspect_candidate`, or a model that `shoal merge` accepts and a pool cannot.
        ShoalError: the Hub cannot be asked.
    """
    member = inspect_candidate(hub, candidate)
    if candidate.is_pipeline:
        return member
    if member.tokenizer is None and member.pieces is None:
        raise Unfit("it has neither tokenizer.json nor tokenizer.model")
    needed = KINDS[member.kind].processor_files
    if needed and all(candidate.file(path) is None for path in needed):
        raise Unfit(f"it has neither {' nor '.join(needed)}")
    return member


def check_measured(candidate: Candidate) -> None:
    """Raise Unfit for a file that would be fetched whatever its size."""
    if unmeasured := [file.path for file in candidate.wanted_files if file.size is None]:
        raise Unfit(f"the Hub does not give the size of its {unmeasured[0]}")


def check_config(config: Mapping[str, object]) -> None:
    """Raise Unfit for a config that points to code, or says that the weights are quantised."""
    check_pointers("config", config)
    if config.get("quantization_config"):
        raise Unfit("it is quantised (quantization_config in its config)")


def check_pointers(path: str, content: Mapping[str, object]) -> None:
    """Raise Unfit for settings, or settings within settings, that point to code: none runs here or is passed on."""
    found = [key for key in _CODE_POINTERS if content.get(key)]
    if found:
        raise Unfit(f"it needs custom code ({found[0]} in its {path})")
    for inside in content.values():
        if isinstance(inside, dict):
            check_pointers(path, inside)


def read_remote_file(hub: Hub, candidate: Candidate, path: str) -> bytes:
    """A small file at the candidate's commit; Unfit without it."""
    file = candidate.file(path)
    if file is None:
        raise Unfit(f"it has no {path}")
    return hub.read(candidate.repo, candidate.sha, path)


def read_remote_json(hub: Hub, candidate: Candidate, path: str) -> dict[str, object]:
    """The object in a JSON file at the candidate's commit; Unfit without it, MergingError for any other content."""
    return parse_json_object(f"its {path}", read_remote_file(hub, candidate, path))


def read_tokenizer(hub: Hub, candidate: Candidate) -> tuple[TokenizerDigests | None, str | None]:
    """The meaning of tokenizer.json and the hash of tokenizer.model, each if there is one."""
    found = read_tokenizer_json(hub, candidate, "tokenizer.json") if candidate.file("tokenizer.json") else None
    model = candidate.file("tokenizer.model")
    return found, model.content_id if model else None


def read_tokenizer_json(hub: Hub, candidate: Candidate, path: str) -> TokenizerDigests:
    """The meaning of a tokenizer.json at this path; Unfit if it cannot be read."""
    try:
        return digest_tokenizer(read_remote_file(hub, candidate, path))
    except MergingError as error:
        raise Unfit(f"its {path} cannot be read: {error}") from error


def read_model_headers(hub: Hub, candidate: Candidate, config: Mapping[str, object]) -> dict[str, TensorHeader]:
    """The headers of all shards, which must agree with the index; of pickles those that their conversion will have."""
    if candidate.is_pickled:
        from merging.pickles.plan import plan_conversion

        pickles = read_shards(hub, candidate, SINGLE_PICKLE, PICKLE_INDEX, read_remote_pickle)
        plan = plan_conversion(config, pickles, "its files")
        return {header.name: header for headers in plan.values() for header in headers}
    shards = read_shards(hub, candidate, SINGLE, INDEX, read_remote_headers)
    return {name: header for headers in shards.values() for name, header in headers.items()}


def read_shards(
    hub: Hub, candidate: Candidate, single: str, index: str, read: Callable[[Hub, Candidate, str], dict[str, T]]
) -> dict[str, dict[str, T]]:
    """What `read` finds by tensor name in the single file, or in each shard; these must agree with the index.

    single, index: paths of the two, which have a folder in common. Unfit for weights that are not whole.
    """
    listed: dict[str, str] | None = None
    names = [single]
    if candidate.file(single) is None:
        weight_map = read_remote_json(hub, candidate, index).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
            raise Unfit(f"its {index} has no weight_map")
        folder = index.rpartition("/")[0]
        listed = {name: f"{folder}/{file}" if folder else file for name, file in weight_map.items()}
        names = sorted(set(listed.values()))
    known = {file.path for file in candidate.weight_files}
    if strange := [name for name in names if name not in known]:
        raise Unfit(f"its {index} names {strange[0][:60]!r}, which is not among its weights")
    if len(names) > MAX_SHARDS:
        raise Unfit(f"it has {len(names)} shards, more than the {MAX_SHARDS} that are read")
    shards: dict[str, dict[str, T]] = {}
    for name in names:
        found = shards[name] = read(hub, candidate, name)
        if listed is not None and (odd := next((tensor for tensor in found if listed.get(tensor) != name), None)):
            given = (
                f"gives tensor {odd[:60]!r} to {listed[odd][:60]}" if odd in listed else f"lacks tensor {odd[:60]!r}"
            )
            raise Unfit(f"its {index} {given}, but it is in {name}")
    found_names = {tensor for tensors in shards.values() for tensor in tensors}
    if listed is not None and (missing := sorted(listed.keys() - found_names)):
        raise Unfit(f"its {index} lists tensor {missing[0][:60]!r}, which no shard has")
    return shards


def read_adapter_headers(hub: Hub, candidate: Candidate) -> dict[str, TensorHeader]:
    """Tensor name → header of an adapter's repo; if it is pickled, as its conversion will have them."""
    if not candidate.is_pickled:
        return read_remote_headers(hub, candidate, ADAPTER_WEIGHTS)
    from merging.pickles.plan import plan_conversion

    pickles = {PICKLED_ADAPTER: read_remote_pickle(hub, candidate, PICKLED_ADAPTER)}
    (headers,) = plan_conversion(None, pickles, candidate.repo).values()
    return {header.name: header for header in headers}


def read_remote_pickle(hub: Hub, candidate: Candidate, path: str) -> dict[str, PickledTensor]:
    """Tensor name → tensor of one pickled file of a repo, by pieces of it; Unfit if it holds anything else."""
    from merging.pickles.archive import read_archive
    from merging.pickles.program import read_tensors

    file = candidate.file(path)
    size = file.size if file and file.size else 0
    try:
        return read_tensors(read_archive(partial(hub.read_range, candidate.repo, candidate.sha, path), size))
    except MergingError as error:
        raise Unfit(f"its {path}: {error}") from error


def read_remote_headers(hub: Hub, candidate: Candidate, path: str) -> dict[str, TensorHeader]:
    """Tensor name → header of one safetensors file of a repo; Unfit if its header is broken."""
    from huggingface_hub.errors import SafetensorsParsingError

    try:
        found = hub.call(hub.api.parse_safetensors_file_metadata, candidate.repo, path, revision=candidate.sha)
    except SafetensorsParsingError as error:
        raise Unfit(f"the header of its {path} cannot be read") from error
    return {name: TensorHeader(name, tuple(info.shape), info.dtype) for name, info in found.tensors.items()}


def inspect_base(hub: Hub, base: Candidate) -> Member:
    """As `inspect_source`, for the base, which no cycle can do without.

    Raises:
        ShoalError: the base cannot be merged.
    """
    try:
        return inspect_source(hub, base)
    except Unfit as error:
        raise ShoalError(f"base: got {base.repo!r}: {plain(str(error))}; name another base in the watchlist") from error

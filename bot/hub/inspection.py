"""A candidate read as far as possible without its weights: config, tokenizer, tensor headers."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bot.errors import ShoalError
from bot.hub.candidate import Candidate, Verdict
from bot.hub.client import Hub, HubForbidden, HubNotFound
from merging.errors import MergingError
from merging.models.settings import settings, settings_mismatch
from merging.partition import layer_count
from merging.recipes.weight_merge import ModelId
from merging.sources.family import TensorHeader, family_mismatch
from merging.tokenizers.comparison import Tokenizer, read_tokenizer, tokenizer_mismatch
from templates.escaping import plain

MAX_SHARDS = 200

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

_COMPANIONS = ("tokenizer_config.json", "generation_config.json", "special_tokens_map.json", "chat_template.json")
"""The JSON files that a release takes over from a source and in which a key could point to code."""

_CODE_POINTERS = ("auto_map", "custom_pipelines")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
"""The keys of a config.json that tell of a mixture of experts."""

BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Of an element, by the format's name of its dtype."""


class Unfit(Exception):  # noqa: N818 - a finding, not a fault
    """What is wrong with a candidate, as a reason for its verdict."""


@dataclass(frozen=True)
class Member:
    """A model that could be merged: what the Hub says of it, and what its small files and headers say.

    headers: tensor name → header. settings: what its config.json means. tokenizer: what its tokenizer.json means,
    if it has one. pieces: the Hub's hash of its tokenizer.model, if it has one. is_mixture: of experts.
    """

    candidate: Candidate
    headers: Mapping[str, TensorHeader]
    settings: Mapping[str, Any]
    tokenizer: Tokenizer | None
    pieces: str | None
    is_mixture: bool = False

    @property
    def repo(self) -> str:
        """owner/name."""
        return self.candidate.repo

    @property
    def sha(self) -> str:
        """The commit."""
        return self.candidate.sha

    @property
    def ref(self) -> ModelId:
        """The model in a recipe."""
        return ModelId(self.candidate.repo, self.candidate.sha)

    @cached_property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(math.prod(header.shape) for header in self.headers.values())

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of all tensors as they are stored."""
        return sum(math.prod(header.shape) * BYTES.get(header.dtype, 1) for header in self.headers.values())

    @cached_property
    def dtype(self) -> str:
        """The safetensors name of the dtype of most tensors, such as BF16."""
        counts = Counter(header.dtype for header in self.headers.values())
        return min(counts, key=lambda name: (-counts[name], name))


def inspect(hub: Hub, candidate: Candidate) -> Member:
    """Read config.json, the tokenizer, the safetensors headers and the small files at the candidate's commit.

    Raises:
        Unfit: one of them is missing, too large or broken, or points to code.
        ShoalError: the Hub cannot be asked.
    """
    if unmeasured := [file.path for file in candidate.wanted_files if file.size is None]:
        raise Unfit(f"the Hub does not tell the size of its {unmeasured[0]}")
    try:
        config = _json_file(hub, candidate, "config.json")
        check_config(config)
        headers = _headers(hub, candidate)
        layers = layer_count(headers)
        if layers == 0:
            raise Unfit("it has no transformer layers")
        meaning = settings(config, layers)
        tokenizer, pieces = _tokenizer(hub, candidate)
        for path in _COMPANIONS:
            if candidate.file(path):
                _check_pointers(path, _json_file(hub, candidate, path))
        return Member(candidate, headers, meaning, tokenizer, pieces, any(config.get(key) for key in _EXPERTS))
    except (MergingError, ValueError, RecursionError) as error:
        raise Unfit(str(error)) from error
    except (HubNotFound, HubForbidden) as error:
        raise Unfit(f"found, but {str(error).removeprefix(f'{candidate.repo}: ')}") from error


def inspect_source(hub: Hub, candidate: Candidate) -> Member:
    """As `inspect`, for a pool: what is bred is scored as well, and its sources' vocabularies are one.

    Raises:
        Unfit: as `inspect`, or what a single merge could take in and a pool cannot.
        ShoalError: the Hub cannot be asked.
    """
    member = inspect(hub, candidate)
    if member.is_mixture:
        raise Unfit("it is a mixture of experts")
    if member.tokenizer is None and member.pieces is None:
        raise Unfit("it has neither tokenizer.json nor tokenizer.model")
    return member


def refused(member: Member | Candidate, reason: str) -> Verdict:
    """The verdict that refuses it."""
    return Verdict(member.repo, member.sha, False, reason)


def mismatch(reference: Member, other: Member) -> str | None:
    """Why the two cannot be merged, None if they can: tensors first, then what shapes do not tell."""
    return (
        family_mismatch(reference.headers, other.headers)
        or settings_mismatch(reference.settings, other.settings)
        or _other_tokens(reference, other)
    )


def _other_tokens(base: Member, other: Member) -> str | None:
    """Whether the same token ids mean the same tokens, by the first tokenizer file that both have."""
    if base.tokenizer is not None and other.tokenizer is not None:
        difference = tokenizer_mismatch(base.tokenizer, other.tokenizer)
        return f"its tokenizer is not that of {base.repo}: {difference}" if difference else None
    if base.pieces is None or other.pieces is None:
        return f"it has no {'tokenizer.json' if base.tokenizer else 'tokenizer.model'} to compare"
    return None if base.pieces == other.pieces else f"its tokenizer.model is not that of {base.repo}"


def check_config(config: Mapping[str, Any]) -> None:
    """Unfit for a config that points to code, or says that the weights are quantised."""
    _check_pointers("config", config)
    if config.get("quantization_config"):
        raise Unfit("it is quantised (quantization_config in its config)")


def _check_pointers(path: str, content: Mapping[str, Any]) -> None:
    """No code of a stranger runs here, nor does a release point to any."""
    found = [key for key in _CODE_POINTERS if content.get(key)]
    if found:
        raise Unfit(f"it needs custom code ({found[0]} in its {path})")


def _read(hub: Hub, candidate: Candidate, path: str) -> bytes:
    file = candidate.file(path)
    if file is None:
        raise Unfit(f"it has no {path}")
    return hub.read(candidate.repo, candidate.sha, path)


def _json_file(hub: Hub, candidate: Candidate, path: str) -> dict[str, Any]:
    try:
        data = json.loads(_read(hub, candidate, path))
    except (ValueError, RecursionError) as error:
        raise Unfit(f"its {path} is not JSON") from error
    if not isinstance(data, dict):
        raise Unfit(f"its {path} is not a JSON object")
    return data


def _tokenizer(hub: Hub, candidate: Candidate) -> tuple[Tokenizer | None, str | None]:
    """tokenizer.json by its meaning, tokenizer.model by its bytes (whose hash the Hub knows)."""
    found = None
    if candidate.file("tokenizer.json"):
        try:
            found = read_tokenizer(_read(hub, candidate, "tokenizer.json"))
        except ValueError as error:
            raise Unfit(f"its tokenizer.json cannot be read: {error}") from error
    model = candidate.file("tokenizer.model")
    return found, model.content_id if model else None


def _headers(hub: Hub, candidate: Candidate) -> dict[str, TensorHeader]:
    """The headers of all shards; what the index says must be what they say."""
    from huggingface_hub.errors import SafetensorsParsingError

    listed: dict[str, Any] | None = None
    names = [SINGLE]
    if candidate.file(SINGLE) is None:
        weight_map = _json_file(hub, candidate, INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
            raise Unfit(f"its {INDEX} has no weight_map")
        listed, names = weight_map, sorted(set(weight_map.values()))
    known = {file.path for file in candidate.weight_files}
    if strange := [name for name in names if name not in known]:
        raise Unfit(f"its {INDEX} names {strange[0][:60]!r}, which is not among its weights")
    if len(names) > MAX_SHARDS:
        raise Unfit(f"it has {len(names)} shards, more than the {MAX_SHARDS} that are read")
    headers: dict[str, TensorHeader] = {}
    for name in names:
        try:
            header = hub.call(hub.api.parse_safetensors_file_metadata, candidate.repo, name, revision=candidate.sha)
        except SafetensorsParsingError as error:
            raise Unfit(f"the header of its {name} cannot be read") from error
        for tensor, info in header.tensors.items():
            if listed is not None and listed.get(tensor) != name:
                raise Unfit(f"its {INDEX} does not place tensor {tensor[:60]!r} in {name}, where it is")
            headers[tensor] = TensorHeader(tensor, tuple(info.shape), info.dtype)
    if listed is not None and (missing := sorted(listed.keys() - headers.keys())):
        raise Unfit(f"its {INDEX} lists tensor {missing[0][:60]!r}, which no shard has")
    return headers


def inspect_base(hub: Hub, base: Candidate) -> Member:
    """As `inspect_source`, for the base: what is wrong with it stops the cycle.

    Raises:
        ShoalError: what is wrong.
    """
    try:
        return inspect_source(hub, base)
    except Unfit as error:
        raise ShoalError(f"base: got {base.repo!r}: {plain(str(error))}; name another base in the watchlist") from error

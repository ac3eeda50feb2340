"""A candidate read as far as possible without its weights: config, tokenizer, tensor headers."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bot.errors import ShoalError
from bot.hub import Hub, HubForbidden, HubNotFound
from bot.sources.candidate import Candidate, Verdict
from merging.errors import MergingError
from merging.family import TensorHeader
from merging.groups import layer_count
from merging.recipe import SourceRef

MAX_CONFIG_BYTES = 2**20
MAX_TOKENIZER_BYTES = 64 * 2**20
MAX_INDEX_BYTES = 16 * 2**20
MAX_SHARDS = 200

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_DEFAULT_ROPE_THETA = 10000.0


class Unfit(Exception):  # noqa: N818 - a finding, not a fault
    """What is wrong with a candidate, as a reason for its verdict."""


@dataclass(frozen=True)
class Member:
    """A model that could be merged: what the Hub says of it, and what its small files and headers say.

    headers: tensor name → header. config: its config.json. tokenizers: file → SHA-256 of what the file means.
    """

    candidate: Candidate
    headers: Mapping[str, TensorHeader]
    config: Mapping[str, Any]
    tokenizers: Mapping[str, str]

    @property
    def repo(self) -> str:
        """owner/name."""
        return self.candidate.repo

    @property
    def sha(self) -> str:
        """The commit."""
        return self.candidate.sha

    @property
    def ref(self) -> SourceRef:
        """The model in a recipe."""
        return SourceRef(self.candidate.repo, self.candidate.sha)

    @cached_property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(math.prod(header.shape) for header in self.headers.values())

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of all tensors as they are stored."""
        return sum(math.prod(header.shape) * _BYTES.get(header.dtype, 1) for header in self.headers.values())

    @cached_property
    def dtype(self) -> str:
        """The safetensors name of the dtype of most tensors, such as BF16."""
        counts = Counter(header.dtype for header in self.headers.values())
        return min(counts, key=lambda name: (-counts[name], name))


def inspect(hub: Hub, candidate: Candidate) -> Member:
    """Read config.json, the tokenizer and the safetensors headers at the candidate's commit.

    Raises:
        Unfit: one of them is missing, too large or broken.
        ShoalError: the Hub cannot be asked.
    """
    try:
        config = _json_file(hub, candidate, "config.json", MAX_CONFIG_BYTES)
        if config.get("auto_map"):
            raise Unfit("it needs custom code (auto_map in its config)")
        if any(config.get(key) for key in ("num_local_experts", "num_experts", "n_routed_experts")):
            raise Unfit("it is a mixture of experts")
        headers = _headers(hub, candidate)
        if layer_count(headers) == 0:
            raise Unfit("it has no transformer layers")
        return Member(candidate, headers, config, _tokenizers(hub, candidate))
    except MergingError as error:
        raise Unfit(str(error)) from error
    except (HubNotFound, HubForbidden) as error:
        raise Unfit(f"found, but {str(error).removeprefix(f'{candidate.repo}: ')}") from error


def refused(member: Member | Candidate, reason: str) -> Verdict:
    """The verdict that refuses it."""
    return Verdict(member.repo, member.sha, False, reason)


def config_mismatch(base: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """What shapes do not tell: heads and rotary positions must be equal too, or weights mean other things."""
    left, right = _structure(base), _structure(other)
    for key, value in left.items():
        if value != right[key]:
            return f"its config says {key} {_short(right[key])}, not {_short(value)}"
    return None


def tokenizer_mismatch(base: Member, other: Member) -> str | None:
    """Whether the same token ids mean the same tokens, by the first tokenizer file that both have."""
    common = [name for name in base.tokenizers if name in other.tokenizers]
    if not common:
        return f"it has no {' or '.join(base.tokenizers) or 'tokenizer'} to compare"
    if base.tokenizers[common[0]] != other.tokenizers[common[0]]:
        return f"its tokenizer is not that of {base.repo}"
    return None


def tokenizer_digest(content: bytes) -> str:
    """SHA-256 (hex) of a tokenizer.json's vocabulary and merges.

    Left out is what changes no token's id: padding, truncation, templates, special tokens, versions.

    Raises:
        ValueError: not a tokenizer.json.
    """
    data = json.loads(content)
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
        raise ValueError("no model in it")
    added = [token for token in data.get("added_tokens") or () if isinstance(token, dict)]
    # Two spellings of one merge are in use: "a b", and the list of both.
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in data["model"].get("merges") or ()]
    meaning = {
        "vocabulary": data["model"].get("vocab"),
        "merges": merges,
        "added": sorted((token.get("id"), token.get("content")) for token in added if not token.get("special")),
    }
    return hashlib.sha256(json.dumps(meaning, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _read(hub: Hub, candidate: Candidate, path: str, limit: int) -> bytes:
    file = candidate.file(path)
    if file is None:
        raise Unfit(f"it has no {path}")
    if file.size is None or file.size > limit:
        raise Unfit(f"its {path} is {file.size} bytes, more than the {limit} that are read")
    return hub.read(candidate.repo, candidate.sha, path)


def _json_file(hub: Hub, candidate: Candidate, path: str, limit: int) -> dict[str, Any]:
    try:
        data = json.loads(_read(hub, candidate, path, limit))
    except (ValueError, RecursionError) as error:
        raise Unfit(f"its {path} is not JSON") from error
    if not isinstance(data, dict):
        raise Unfit(f"its {path} is not a JSON object")
    return data


def _tokenizers(hub: Hub, candidate: Candidate) -> dict[str, str]:
    """tokenizer.json by its meaning, tokenizer.model by its bytes (whose hash the Hub knows)."""
    found: dict[str, str] = {}
    if candidate.file("tokenizer.json"):
        content = _read(hub, candidate, "tokenizer.json", MAX_TOKENIZER_BYTES)
        try:
            found["tokenizer.json"] = tokenizer_digest(content)
        except (ValueError, TypeError, RecursionError) as error:
            raise Unfit("its tokenizer.json cannot be read") from error
    pieces = candidate.file("tokenizer.model")
    if pieces and pieces.content_id:
        found["tokenizer.model"] = pieces.content_id
    if not found:
        raise Unfit("it has neither tokenizer.json nor tokenizer.model")
    return found


def _headers(hub: Hub, candidate: Candidate) -> dict[str, TensorHeader]:
    """The headers of all shards; what the index says must be what they say."""
    from huggingface_hub.errors import SafetensorsParsingError

    listed: dict[str, Any] | None = None
    names = [SINGLE]
    if candidate.file(SINGLE) is None:
        weight_map = _json_file(hub, candidate, INDEX, MAX_INDEX_BYTES).get("weight_map")
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


def _structure(config: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a config that decide what weights mean, in one form for old and new files."""
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    theta = rope.pop("rope_theta", None) or config.get("rope_theta") or _DEFAULT_ROPE_THETA
    kind = rope.pop("rope_type", None) or rope.pop("type", None) or "default"
    heads = config.get("num_attention_heads")
    width = config.get("hidden_size")
    split = width // heads if isinstance(width, int) and isinstance(heads, int) and heads > 0 else None
    return {
        "model_type": config.get("model_type"),
        "architectures": config.get("architectures"),
        "num_attention_heads": heads,
        "num_key_value_heads": config.get("num_key_value_heads") or heads,
        "head_dim": config.get("head_dim") or split,
        "hidden_act": config.get("hidden_act"),
        "rope_theta": float(theta) if isinstance(theta, int | float) else theta,
        "rope_type": kind,
        "rope_parameters": rope,
    }


def _short(value: object) -> str:
    return repr(value)[:60]


def inspect_base(hub: Hub, base: Candidate) -> Member:
    """As `inspect`, for the base: what is wrong with it stops the cycle.

    Raises:
        ShoalError: what is wrong.
    """
    try:
        return inspect(hub, base)
    except Unfit as error:
        raise ShoalError(f"base: got {base.repo!r}: {error}; name another base in the watchlist") from error

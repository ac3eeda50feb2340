"""What the Hub knows of a model at one commit without running it: card, config, parameters, tags."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from pydantic import JsonValue

from localhub.store.blobs import Blobs
from localhub.store.cards import BadCardError, split_card
from localhub.store.commits import Commit, Entry, Tree
from localhub.store.repo import Repo, Settings
from localhub.store.tags import Fields, derive_tags, find_library, find_pipeline, find_relation, list_strings

LARGEST_HEADER_BYTES = 25_000_000
LARGEST_JSON_BYTES = 30_000_000
SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_SHOWN_CONFIG = ("architectures", "model_type", "auto_map", "quantization_config")
_SHOWN_TOKENIZER = ("bos_token", "eos_token", "pad_token", "unk_token", "chat_template")
_SHOWN_ADAPTER = ("base_model_name_or_path", "task_type")


@dataclass(frozen=True)
class Facts:
    """What the Hub reads off the files of a model.

    card, body: front matter and text of the README.
    config: the part of config.json, tokenizer_config.json and model_index.json that the Hub shows.
    parameters: their number by dtype; None without readable safetensors files.
    """

    card: Fields
    body: str
    config: Fields
    parameters: dict[str, int] | None
    library: str | None
    pipeline: str | None
    relation: str | None
    tags: tuple[str, ...]

    @property
    def total(self) -> int | None:
        """The number of all parameters."""
        return None if self.parameters is None else sum(self.parameters.values())

    @property
    def bases(self) -> list[str]:
        """The base models that the card declares."""
        return list_strings(self.card.get("base_model"))


@dataclass(frozen=True)
class Model:
    """A repo at the commit with id `sha`, with all that the Hub shows of it."""

    repo: Repo
    settings: Settings
    sha: str
    commit: Commit
    tree: Tree
    facts: Facts

    @property
    def last_modified(self) -> str:
        """The time of the commit: ISO 8601, UTC."""
        return self.commit.date


def gather_facts(tree: Tree, blobs: Blobs) -> Facts:
    """Read the facts off the files of a commit. A file that cannot be read counts as absent."""
    text = _read_text(tree.get("README.md"), blobs)
    try:
        card, body = split_card(text)
    except BadCardError:
        card, body = {}, text
    config = _read_config(tree, blobs)
    headers = [header for name in _list_shards(tree, blobs) if (header := _read_header(tree[name], blobs)) is not None]
    library = find_library(card, tree)
    return Facts(
        card=card,
        body=body,
        config=config,
        parameters=_count_parameters(headers) if headers else None,
        library=library,
        pipeline=find_pipeline(card, config, library),
        relation=find_relation(card, config, tree),
        tags=tuple(derive_tags(card, config, tree, body)),
    )


def _list_shards(tree: Tree, blobs: Blobs) -> list[str]:
    """The model's safetensors files: the single one, else those that the index names."""
    if SINGLE_FILE in tree:
        return [SINGLE_FILE]
    weight_map = _read_object(tree.get(INDEX_FILE), blobs).get("weight_map")
    names = {str(name) for name in weight_map.values()} if isinstance(weight_map, dict) else set()
    return sorted(name for name in names if name in tree)


def _read_header(entry: Entry, blobs: Blobs) -> dict[str, JsonValue] | None:
    """The JSON header of a safetensors file (8 bytes of length, little endian, then the text); None without one."""
    start = blobs.read(entry.sha256, 8)
    if len(start) < 8:
        return None
    (length,) = struct.unpack("<Q", start)
    if length > min(LARGEST_HEADER_BYTES, entry.size - 8):
        return None
    return _parse_object(blobs.read(entry.sha256, 8 + length)[8:])


def _count_parameters(headers: Iterable[dict[str, JsonValue]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for header in headers:
        for name, tensor in header.items():
            shape = tensor.get("shape") if name != "__metadata__" and isinstance(tensor, dict) else None
            if isinstance(tensor, dict) and isinstance(shape, list):
                counts[str(tensor.get("dtype"))] += prod(size for size in shape if isinstance(size, int))
    return dict(counts)


def _read_config(tree: Tree, blobs: Blobs) -> dict[str, JsonValue]:
    shown = _pick_keys(_read_object(tree.get("config.json"), blobs), _SHOWN_CONFIG)
    tokenizer = _pick_keys(_read_object(tree.get("tokenizer_config.json"), blobs), _SHOWN_TOKENIZER)
    template = _read_text(tree.get("chat_template.jinja"), blobs) or tokenizer.get("chat_template")
    adapter = _read_object(tree.get("adapter_config.json"), blobs)
    pipeline = _pick_keys(_read_object(tree.get("model_index.json"), blobs), ("_class_name",))
    if pipeline:
        shown["diffusers"] = pipeline
    if tokenizer:
        shown["tokenizer_config"] = tokenizer
    if template:
        shown["chat_template"] = template
    if adapter:
        shown["peft"] = _pick_keys(adapter, _SHOWN_ADAPTER)
    return shown


def _pick_keys(fields: dict[str, JsonValue], keys: Iterable[str]) -> dict[str, JsonValue]:
    return {key: fields[key] for key in keys if key in fields}


def _read_object(entry: Entry | None, blobs: Blobs) -> dict[str, JsonValue]:
    return _parse_object(_read_text(entry, blobs)) or {}


def _parse_object(text: str | bytes) -> dict[str, JsonValue] | None:
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _read_text(entry: Entry | None, blobs: Blobs) -> str:
    if entry is None or entry.size > LARGEST_JSON_BYTES:
        return ""
    return blobs.read(entry.sha256).decode(errors="replace")

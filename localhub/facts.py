"""What is known of a model at one commit without running it: card, config, parameters, tags."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from localhub import tags
from localhub.blobs import Blobs
from localhub.cards import BadCardError, split
from localhub.commits import Entry, Tree

LARGEST_HEADER_BYTES = 25_000_000
LARGEST_JSON_BYTES = 30_000_000
SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_SHOWN_CONFIG = ("architectures", "model_type", "auto_map", "quantization_config")
_SHOWN_TOKENIZER = ("bos_token", "eos_token", "pad_token", "unk_token", "chat_template")


@dataclass(frozen=True)
class Facts:
    """`parameters` counts them by dtype (None without safetensors files); `config` is the part that the
    Hub shows of config.json and tokenizer_config.json; `body` is the card without its front matter."""

    card: Mapping[str, Any]
    body: str
    config: Mapping[str, Any]
    parameters: Mapping[str, int] | None
    library: str | None
    pipeline: str | None
    relation: str | None
    tags: tuple[str, ...]

    @property
    def total(self) -> int | None:
        """The number of parameters."""
        return None if self.parameters is None else sum(self.parameters.values())

    @property
    def bases(self) -> list[str]:
        """The declared base models."""
        return tags.words(self.card.get("base_model"))


def gather(tree: Tree, blobs: Blobs) -> Facts:
    """Read the facts off the files of a commit. Files that cannot be read count as absent."""
    text = _text(tree.get("README.md"), blobs)
    try:
        card, body = split(text)
    except BadCardError:
        card, body = {}, text
    config = _config(tree, blobs)
    headers = safetensors_headers(tree, blobs)
    library = tags.library_name(card, tree)
    return Facts(
        card=card,
        body=body,
        config=config,
        parameters=_parameters(headers) if headers else None,
        library=library,
        pipeline=tags.pipeline_tag(card, config, library),
        relation=tags.relation(card, tree, config),
        tags=tuple(
            tags.derive(card, config, tree, body, has_safetensors=any(path.endswith(".safetensors") for path in tree))
        ),
    )


def safetensors_headers(tree: Tree, blobs: Blobs) -> dict[str, dict[str, Any]]:
    """The headers of the model's safetensors files, by file name: the single file's, else all shards'."""
    if SINGLE_FILE in tree:
        names = [SINGLE_FILE]
    else:
        weight_map = _json(tree.get(INDEX_FILE), blobs).get("weight_map")
        names = sorted({str(name) for name in weight_map.values()}) if isinstance(weight_map, dict) else []
    headers = {name: read_header(tree[name], blobs) for name in names if name in tree}
    return {name: header for name, header in headers.items() if header is not None}


def read_header(entry: Entry, blobs: Blobs) -> dict[str, Any] | None:
    """The JSON header of a safetensors file (8 bytes of length, little endian, then the text), None if it
    has none."""
    start = blobs.read(entry.sha256, 8)
    if len(start) < 8:
        return None
    (length,) = struct.unpack("<Q", start)
    if length > min(LARGEST_HEADER_BYTES, entry.size - 8):
        return None
    try:
        header = json.loads(blobs.read(entry.sha256, 8 + length)[8:])
    except ValueError:
        return None
    return header if isinstance(header, dict) else None


def _parameters(headers: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for header in headers.values():
        for name, tensor in header.items():
            if name != "__metadata__" and isinstance(tensor, dict) and isinstance(tensor.get("shape"), list):
                counts[str(tensor.get("dtype"))] += prod(size for size in tensor["shape"] if isinstance(size, int))
    return dict(counts)


def _config(tree: Tree, blobs: Blobs) -> dict[str, Any]:
    whole = _json(tree.get("config.json"), blobs)
    shown = {key: whole[key] for key in _SHOWN_CONFIG if key in whole}
    tokenizer = _json(tree.get("tokenizer_config.json"), blobs)
    part = {key: tokenizer[key] for key in _SHOWN_TOKENIZER if key in tokenizer}
    if part:
        shown["tokenizer_config"] = part
    template = _text(tree.get("chat_template.jinja"), blobs) or part.get("chat_template")
    if template:
        shown["chat_template"] = template
    adapter = _json(tree.get("adapter_config.json"), blobs)
    if adapter:
        shown["peft"] = {key: adapter[key] for key in ("base_model_name_or_path", "task_type") if key in adapter}
    return shown


def _json(entry: Entry | None, blobs: Blobs) -> dict[str, Any]:
    try:
        value = json.loads(_text(entry, blobs) or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(entry: Entry | None, blobs: Blobs) -> str:
    if entry is None or entry.size > LARGEST_JSON_BYTES:
        return ""
    return blobs.read(entry.sha256).decode(errors="replace")

"""A model's tokenizer as a value: its tokens by their text, and everything that a new one is made from."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from merging.errors import MergingError

CONFIG, TOKENIZER, SETTINGS = "config.json", "tokenizer.json", "tokenizer_config.json"


@dataclass(frozen=True, eq=False)
class SourceTokenizer:
    """label: what errors call its model. files: name → content, config.json among them.

    rows: of the model's embeddings. spec: the tokenizer as the tokenizers library writes it, in tokenizer.json's form.
    vocabulary: token → id, also of tokens that have no row. special: those with a role, such as the end of a text.
    """

    label: str
    files: Mapping[str, bytes]
    rows: int
    spec: Mapping[str, Any]
    vocabulary: Mapping[str, int]
    special: frozenset[str]

    @cached_property
    def tokens(self) -> Mapping[str, int]:
        """Token → row, in the order of the rows; a token whose id is past the embeddings is not among them."""
        return {token: id for token, id in sorted(self.vocabulary.items(), key=lambda item: item[1]) if id < self.rows}

    @property
    def config(self) -> dict[str, Any]:
        """The model's config.json."""
        return json_object(self.label, self.files, CONFIG)


def read_source_tokenizer(label: str, files: Mapping[str, bytes], rows: int) -> SourceTokenizer:
    """The tokenizer in a model's small files, as transformers reads it; none of the model's own code runs.

    label: what errors call the model. files: by name: config.json and what `companion_files` gives. rows: of the
    model's embeddings. MergingError if there is no tokenizer, or none that the tokenizers library has.
    """
    tokenizer = load_tokenizer(label, files)
    if not tokenizer.is_fast:
        raise MergingError(f"{label}: its tokenizer has no {TOKENIZER}: vocabularies are merged from those alone")
    return SourceTokenizer(
        label=label,
        files=dict(files),
        rows=rows,
        spec=json.loads(tokenizer.backend_tokenizer.to_str()),
        vocabulary=tokenizer.get_vocab(),
        special=frozenset(tokenizer.all_special_tokens),
    )


def load_tokenizer(label: str, files: Mapping[str, bytes]) -> Any:
    """The tokenizer that plain `AutoTokenizer.from_pretrained` makes of these files; MergingError if it cannot."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory(prefix="shoal-") as folder:
        for name, content in files.items():
            (Path(folder) / Path(name).name).write_bytes(content)
        try:
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        except BaseException as error:
            # Some broken files make the tokenizers library's Rust code panic, which is no Exception.
            if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
                raise
            reason = " ".join(str(error).replace(folder, label).split())[:200]
            raise MergingError(f"{label}: transformers cannot read its tokenizer ({reason})") from error


def json_object(label: str, files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    """One of a model's files as a JSON object, empty where there is no such file; MergingError if it is none."""
    try:
        found = json.loads(files.get(name, b"{}"))
    except (ValueError, RecursionError) as error:
        raise MergingError(f"{label}: {name}: cannot be read as a JSON object ({error})") from error
    if not isinstance(found, dict):
        raise MergingError(f"{label}: {name}: cannot be read as a JSON object (it is a {type(found).__name__})")
    return found

"""A model's tokenizer as a value: its tokens by their text, and everything that a merged one is made from."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from merging.errors import MergingError
from merging.sources.json_object import parse_json_object

CONFIG, TOKENIZER, SETTINGS = "config.json", "tokenizer.json", "tokenizer_config.json"

OLDER_VOCABULARIES = ("tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "merges.txt")
"""Files with the vocabulary in a form that is older than tokenizer.json."""


@dataclass(frozen=True, eq=False)
class SourceTokenizer:
    """A model's tokenizer.

    label: name of the model in errors. files: name → content of the model's small files, config.json included.
    rows: number of rows of the model's embeddings. spec: the tokenizer in tokenizer.json's form.
    vocabulary: token → id, also of tokens without a row. special: tokens with a role, such as the end of a text.
    roles: such roles by transformers' names (eos_token) → the token.
    """

    label: str
    files: Mapping[str, bytes]
    rows: int
    spec: Mapping[str, Any]
    vocabulary: Mapping[str, int]
    special: frozenset[str]
    roles: Mapping[str, str]

    @cached_property
    def tokens(self) -> Mapping[str, int]:
        """Token → row, in the order of the rows, without tokens whose id is beyond the embeddings."""
        return {token: id for token, id in sorted(self.vocabulary.items(), key=lambda item: item[1]) if id < self.rows}

    @property
    def config(self) -> dict[str, Any]:
        """The model's config.json."""
        return read_file(self.label, self.files, CONFIG)


def read_source_tokenizer(label: str, files: Mapping[str, bytes], rows: int) -> SourceTokenizer:
    """The tokenizer in a model's small files; none of the model's own code runs.

    Its steps and tokens are those of tokenizer.json, as the tokenizers library reads it: transformers builds some
    classes of tokenizers anew, with other steps. Tokens that transformers adds by tokenizer_config.json belong to it.

    label: name of the model in errors. files: by name: config.json and what `read_companions` gives. rows: of the
    model's embeddings. MergingError if there is no tokenizer, or none that the tokenizers library has.
    """
    tokenizer = load_tokenizer(label, files)
    if not tokenizer.is_fast:
        raise MergingError(f"{label}: its tokenizer has no {TOKENIZER}: vocabularies are merged from those alone")
    spec, vocabulary = json.loads(tokenizer.backend_tokenizer.to_str()), tokenizer.get_vocab()
    if TOKENIZER in files:
        spec, vocabulary = _with_further_tokens(label, files[TOKENIZER], spec, vocabulary)
    return SourceTokenizer(
        label=label,
        files=dict(files),
        rows=rows,
        spec=spec,
        vocabulary=vocabulary,
        special=frozenset(tokenizer.all_special_tokens),
        roles={role: str(token) for role, token in tokenizer.special_tokens_map.items() if not isinstance(token, list)},
    )


def _with_further_tokens(
    label: str, content: bytes, read: Mapping[str, Any], vocabulary: Mapping[str, int]
) -> tuple[dict[str, Any], dict[str, int]]:
    """(spec, vocabulary) of a tokenizer.json, with the tokens that transformers adds.

    read, vocabulary: the tokenizer as transformers reads it.
    """
    import tokenizers

    with tokenizer_errors(f"{label}: {TOKENIZER} cannot be read"):
        own = tokenizers.Tokenizer.from_str(content.decode())
    spec, tokens = json.loads(own.to_str()), dict(own.get_vocab())
    taken = set(tokens.values())
    further = {token: id for token, id in vocabulary.items() if token not in tokens and id not in taken}
    added = [token for token in read["added_tokens"] if token["content"] in further]
    return {**spec, "added_tokens": [*spec["added_tokens"], *added]}, {**tokens, **further}


def load_tokenizer(label: str, files: Mapping[str, bytes]) -> Any:
    """The tokenizer that plain `AutoTokenizer.from_pretrained` makes of these files; MergingError if it cannot."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory(prefix="shoal-") as folder:
        for name, content in files.items():
            (Path(folder) / Path(name).name).write_bytes(content)
        with tokenizer_errors(f"{label}: transformers cannot read its tokenizer", folder):
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def read_file(label: str, files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    """The JSON object in one of a model's files, empty if there is no such file; MergingError for any other content."""
    return parse_json_object(f"{label}: {name}", files.get(name, b"{}"))


@contextmanager
def tokenizer_errors(label: str, folder: str = "") -> Iterator[None]:
    """Turn whatever a broken file makes the libraries raise into a MergingError that begins with `label`.

    folder: a temporary one, which the message leaves out.
    """
    try:
        yield
    except BaseException as error:
        # On some broken files the Rust code of the tokenizers library panics, which is not an Exception.
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
            raise
        reason = " ".join(str(error).replace(folder or "\0", "its folder").split())[:200]
        raise MergingError(f"{label} ({reason})") from error

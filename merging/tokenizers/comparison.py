"""Compares tokenizers: do they give the same text the same token ids?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from merging.tokenizers.source_tokenizer import tokenizer_errors
from merging.tokenizers.spelling import read_spelling

# The steps of a tokenizer.json that decide the ids of a text, besides its model. Padding, truncation, the templates
# around a text and decoding may differ.
_STEPS = ("normalizer", "pre_tokenizer")

VOCABULARY_FILES = ("spiece.model", "tokenizer.model", "vocab.txt")
"""Files of which a tokenizer has one if it has no tokenizer.json and no vocab.json; they are compared as a whole."""


@dataclass(frozen=True)
class TokenizerDigests:
    """The meaning of a tokenizer.json, small enough to be stored and compared.

    parts: vocabulary, merges, model settings, normalizer and pre_tokenizer → SHA-256 (hex) of each.
    added: id → text of the added tokens. special: ids of those that are special.
    spelling: as `read_spelling` gives it. height: the highest id plus 1. An earlier version kept neither.
    """

    parts: Mapping[str, str]
    added: Mapping[int, str]
    special: frozenset[int]
    spelling: Mapping[str, str] = field(default_factory=dict)
    height: int | None = None


def digest_tokenizer(content: bytes) -> TokenizerDigests:
    """Read a tokenizer.json as the tokenizers library does: all spellings and defaults in one form.

    Raises:
        MergingError: the library cannot read it.
    """
    import tokenizers

    with tokenizer_errors("not a tokenizer.json"):
        tokenizer = tokenizers.Tokenizer.from_str(content.decode())
        data = json.loads(tokenizer.to_str())
    model = data["model"]
    settings = {key: value for key, value in model.items() if key not in ("vocab", "merges", "dropout")}
    parts = {"vocabulary": model["vocab"], "merges": model.get("merges"), "model settings": settings}
    parts |= {step: data[step] for step in _STEPS}
    return TokenizerDigests(
        {name: _digest(part) for name, part in parts.items()},
        {token["id"]: token["content"] for token in data["added_tokens"]},
        frozenset(token["id"] for token in data["added_tokens"] if token["special"]),
        read_spelling(data),
        max(tokenizer.get_vocab().values(), default=-1) + 1,
    )


def digest_vocabulary(vocabulary: Mapping[str, object], merges: str) -> TokenizerDigests:
    """The meaning of a vocab.json and a merges.txt, of a tokenizer without a tokenizer.json.

    Its parts are those of the same tokenizer's tokenizer.json, as far as these files tell.
    """
    rows = [line.split(" ") for line in merges.splitlines() if line and not line.startswith("#version")]
    parts: dict[str, object] = {"vocabulary": vocabulary}
    parts |= {"merges": [row for row in rows if len(row) == 2]} if rows else {}
    return TokenizerDigests({name: _digest(part) for name, part in parts.items()}, {}, frozenset())


def digest_vocabulary_file(content_hash: str) -> TokenizerDigests:
    """The meaning of one of the `VOCABULARY_FILES`."""
    return TokenizerDigests({"vocabulary file": content_hash}, {}, frozenset())


def text_encoder_tokenizer_mismatch(base: TokenizerDigests, other: TokenizerDigests) -> str | None:
    """As `tokenizer_mismatch`, of tokenizers of which either may have other files: what both tell is compared."""
    if base.parts.keys() == other.parts.keys():
        return tokenizer_mismatch(base, other)
    common = [name for name in base.parts if name in other.parts]
    if not common:
        return "other files, which cannot be compared"
    return next((f"another {name}" for name in common if base.parts[name] != other.parts[name]), None)


def plain_text_mismatch(base: TokenizerDigests, other: TokenizerDigests) -> str | None:
    """The first difference between two tokenizers besides their added tokens, in a few words; None if there is none."""
    return next((f"another {name}" for name, digest in base.parts.items() if other.parts[name] != digest), None)


def tokenizer_mismatch(base: TokenizerDigests, other: TokenizerDigests) -> str | None:
    """The first difference between two tokenizers, in a few words; None if they give any plain text the same ids.

    Either may have special tokens at ids that the other leaves free: they do not occur in plain text.
    """
    if difference := plain_text_mismatch(base, other):
        return difference
    for token in sorted({*base.added, *other.added}):
        one, two = base.added.get(token), other.added.get(token)
        extra = token in base.special ^ other.special and None in (one, two)
        if one != two and not extra:
            return f"token {token} is {_short(two)}, not {_short(one)}"
    return None


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _short(text: str | None) -> str:
    return "nothing" if text is None else repr(text)[:40]

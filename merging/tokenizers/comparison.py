"""Whether two tokenizers give the same text the same token ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

# What of a tokenizer.json decides the ids of a text. Padding, truncation, the templates around a text and the way
# back from ids to text may differ.
_STEPS = ("normalizer", "pre_tokenizer")


@dataclass(frozen=True)
class Tokenizer:
    """What a tokenizer.json means.

    parts: vocabulary, merges, model settings, normalizer and pre_tokenizer → SHA-256 (hex) of each.
    added: the added tokens, id → text. special: the ids of those that are special.
    """

    parts: Mapping[str, str]
    added: Mapping[int, str]
    special: frozenset[int]


def read_tokenizer(content: bytes) -> Tokenizer:
    """The meaning of a tokenizer.json, as the tokenizers library reads it: spellings and defaults in one form.

    Raises:
        ValueError: the library cannot read it.
    """
    import tokenizers

    try:
        data = json.loads(tokenizers.Tokenizer.from_str(content.decode()).to_str())
    except BaseException as error:
        # Some broken files make the library's Rust code panic, which is no Exception.
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
            raise
        raise ValueError(f"not a tokenizer.json ({' '.join(str(error).split())[:80]})") from error
    model = data["model"]
    settings = {key: value for key, value in model.items() if key not in ("vocab", "merges", "dropout")}
    parts = {"vocabulary": model["vocab"], "merges": model.get("merges"), "model settings": settings}
    parts |= {step: data[step] for step in _STEPS}
    return Tokenizer(
        {name: _digest(part) for name, part in parts.items()},
        {token["id"]: token["content"] for token in data["added_tokens"]},
        frozenset(token["id"] for token in data["added_tokens"] if token["special"]),
    )


def tokenizer_mismatch(base: Tokenizer, other: Tokenizer) -> str | None:
    """In what two tokenizers differ, in a few words; None if any plain text gets the same ids from both.

    Either may have special tokens at ids that the other leaves free: they do not occur in plain text.
    """
    for name, digest in base.parts.items():
        if other.parts[name] != digest:
            return f"another {name}"
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

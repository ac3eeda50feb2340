"""How a tokenizer's tokens spell text: only where two agree on it does a token of both mean the same text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_SPACE = "▁"
_KIND, _ALPHABET, _LETTERS = "kind", "alphabet", "letters"
_ENDS = ("continuing_subword_prefix", "end_of_word_suffix")


def read_spelling(spec: Mapping[str, Any]) -> dict[str, str]:
    """The spelling of a tokenizer in tokenizer.json's form, aspect by aspect."""
    model = spec["model"]
    return {
        _KIND: model["type"],
        _ALPHABET: _alphabet(spec),
        **{end: model.get(end) or "" for end in _ENDS},
        _LETTERS: "reduced" if _reduces_letters(spec["normalizer"]) else "as written",
    }


def spelling_mismatch(one: Mapping[str, str], two: Mapping[str, str]) -> str | None:
    """The first aspect in which the second tokenizer spells differently, in a few words; None if there is none."""
    found = next((aspect for aspect in one if two.get(aspect) != one[aspect]), None)
    if found is None:
        return None
    if found == _KIND:
        return f"it is a {two.get(found)} tokenizer, not {one[found]}"
    if found == _ALPHABET:
        return f"its tokens are written in {two.get(found)}, not in {one[found]}"
    if found == _LETTERS:
        return f"its letters are {two.get(found)} (case or accents), not {one[found]}"
    return f"its {found} is {two.get(found)!r}, not {one[found]!r}"


def _alphabet(spec: Mapping[str, Any]) -> str:
    steps = json.dumps([spec["normalizer"], spec["pre_tokenizer"], spec["decoder"]], ensure_ascii=False)
    if "ByteLevel" in steps:
        return "bytes (as GPT-2's are)"
    found = f"pieces with {_SPACE} for a space (as SentencePiece's are)" if _SPACE in steps else "plain text"
    return f"{found} and bytes as <0x0A>" if spec["model"].get("byte_fallback") else found


def _reduces_letters(normalizer: Any) -> bool:
    """Whether texts lose the case or the accents of their letters before they are split."""
    if not isinstance(normalizer, dict):
        return False
    kind = normalizer.get("type")
    if kind == "Sequence":
        return any(map(_reduces_letters, normalizer["normalizers"]))
    bert = kind == "BertNormalizer" and bool(normalizer.get("lowercase") or normalizer.get("strip_accents"))
    return bert or kind in ("Lowercase", "StripAccents")

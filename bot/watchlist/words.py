"""The word that a person meant."""

from __future__ import annotations

from difflib import get_close_matches

_SYNONYMS = {
    "gpu": "cuda",
    "bf16": "bfloat16",
    "fp16": "float16",
    "half": "float16",
    "fp32": "float32",
    "float": "float32",
    "no": "off",
    "false": "off",
    "none": "off",
    "passthrough": "dataflow",
}
"""Words that people write for one of the allowed words."""


def suggest_word(word: str, known: list[str]) -> str:
    """The remedy for a word that is not one of those known: the nearest of them, or all."""
    plain = word.lower().replace(" ", "-")
    plain = _SYNONYMS.get(plain, plain)
    close = [plain] if plain in known else get_close_matches(plain, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(sorted(known))}"

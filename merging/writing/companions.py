"""The files that belong to a model beside its weights and its config.json; a folder has some of these."""

from __future__ import annotations

from pathlib import Path

COMPANIONS = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "chat_template.jinja",
    "chat_template.json",
)
"""Generation defaults, tokenizers of all kinds, chat templates."""


def companion_files(folder: Path) -> dict[str, bytes]:
    """Those that a model's folder has, by name."""
    return {name: (folder / name).read_bytes() for name in COMPANIONS if (folder / name).is_file()}

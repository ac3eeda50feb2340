"""Whether the text encoders of two pipelines, each with a tokenizer of its own, read the same words as the same ids."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from merging.pipelines.parts import TEXT_ENCODER, TOKENIZER
from merging.sources.json_object import parse_json_object
from merging.tokenizers.comparison import (
    VOCABULARY_FILES,
    TokenizerDigests,
    digest_tokenizer,
    digest_vocabulary,
    digest_vocabulary_file,
    text_encoder_tokenizer_mismatch,
)

_WHOLE, _VOCABULARY, _MERGES = "tokenizer.json", "vocab.json", "merges.txt"


def digest_tokenizers(files: Mapping[str, bytes]) -> dict[str, TokenizerDigests]:
    """Folder of each text encoder whose tokenizer's files can be read → the meaning of that.

    files: of a pipeline, by path. MergingError for one that cannot be read.
    """
    found = {}
    for folder in sorted({path.partition("/")[0] for path in files if path.startswith(TOKENIZER)}):
        reader = folder.replace(TOKENIZER, TEXT_ENCODER, 1)
        if whole := files.get(f"{folder}/{_WHOLE}"):
            found[reader] = digest_tokenizer(whole)
        elif vocabulary := files.get(path := f"{folder}/{_VOCABULARY}"):
            merges = files.get(f"{folder}/{_MERGES}", b"")
            found[reader] = digest_vocabulary(parse_json_object(path, vocabulary), merges.decode(errors="replace"))
        elif content := next(filter(None, (files.get(f"{folder}/{name}") for name in VOCABULARY_FILES)), None):
            found[reader] = digest_vocabulary_file(hashlib.sha256(content).hexdigest())
    return found


def tokenizer_difference(
    own: Mapping[str, TokenizerDigests], other: Mapping[str, TokenizerDigests], folder: str
) -> str | None:
    """The first difference between the tokenizers of a text encoder, in a few words; None where none is seen."""
    if folder in own and folder in other:
        return text_encoder_tokenizer_mismatch(own[folder], other[folder])
    return None

"""One tokenizer with the tokens of several: its tokenizer.json, and the files that go with it.

The leading tokenizer's ids stay, and so do its steps before the search for tokens. The other models' further tokens
follow in the order of the models. In byte-pair encodings the leading merges come first and the others' after them: a
text is first split as the leading tokenizer splits it, and pieces are then joined to the others' tokens. A token is
matched as a whole string in plain text only if its own tokenizer did so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count
from typing import Any

from merging.errors import MergingError
from merging.tokenizers.source_tokenizer import (
    CONFIG,
    OLDER_VOCABULARIES,
    SETTINGS,
    TOKENIZER,
    SourceTokenizer,
    read_file,
)
from merging.tokenizers.spelling import read_spelling, spelling_mismatch

_OUTDATED = (*OLDER_VOCABULARIES, "added_tokens.json")
"""Files that would contradict the merged tokenizer.json."""

_KINDS = ("BPE", "WordPiece", "WordLevel", "Unigram")
_UNLIKELY = 10.0
"""Log-likelihood of added tokens below the least likely piece, so that a Unigram model never prefers them."""

Spec = dict[str, Any]


def union_mismatch(leading: SourceTokenizer, other: SourceTokenizer) -> str | None:
    """The reason why one tokenizer cannot have the tokens of both, in a few words; None if it can."""
    return spelling_mismatch(read_spelling(leading.spec), read_spelling(other.spec))


def unite_tokenizers(
    leading: SourceTokenizer, others: Sequence[SourceTokenizer], extra: Iterable[str]
) -> tuple[Spec, dict[str, int]]:
    """(the leading tokenizer's spec with the tokens of the others and `extra` added tokens, token → id).

    Tokens without a row in their model are left out, but for the leading tokenizer's special ones.
    MergingError if it is of a kind that cannot be changed.
    """
    kind = leading.spec["model"]["type"]
    if kind not in _KINDS:
        raise MergingError(f"{leading.label}: its tokenizer is of type {kind}: use one of {', '.join(_KINDS)}")
    extra = list(extra)
    # In the order of the ids, for the library's own order differs from run to run, and so would the file's bytes.
    own = sorted(leading.vocabulary.items(), key=lambda item: item[1])
    ids = {token: id for token, id in own if id < leading.rows or token in leading.special}
    unused = count(max(ids.values(), default=-1) + 1)
    for token in chain(*(other.tokens for other in others), extra):
        if token not in ids:
            ids[token] = next(unused)
    specs = [leading.spec, *(other.spec for other in others)]
    model = {"Unigram": _unigram, "BPE": _byte_pairs}.get(kind, _words)
    return {**leading.spec, "added_tokens": _added(specs, extra, ids), "model": model(specs, ids)}, ids


def tokenizer_files(leading: SourceTokenizer, spec: Spec) -> dict[str, bytes]:
    """The leading model's small files without config.json, with another spec in tokenizer.json."""
    kept = {name: content for name, content in leading.files.items() if name != CONFIG and name not in _OUTDATED}
    settings = read_file(leading.label, leading.files, SETTINGS)
    if "added_tokens_decoder" in settings:
        tokens = ({key: value for key, value in token.items() if key != "id"} for token in spec["added_tokens"])
        ids = (str(token["id"]) for token in spec["added_tokens"])
        settings["added_tokens_decoder"] = dict(zip(ids, tokens, strict=True))
    return kept | {TOKENIZER: _json(spec), SETTINGS: _json(settings)}


def _added(specs: Sequence[Mapping[str, Any]], extra: Iterable[str], ids: Mapping[str, int]) -> list[Spec]:
    """Every tokenizer's added tokens, each with the settings of the first that has it, in the order of their ids."""
    found: dict[str, Spec] = {}
    for token in chain(*(spec["added_tokens"] for spec in specs), map(_plain_token, extra)):
        found.setdefault(token["content"], token)
    kept = [{**token, "id": ids[content]} for content, token in found.items() if content in ids]
    return sorted(kept, key=lambda token: int(token["id"]))


def _plain_token(content: str) -> Spec:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    return {"content": content, **flags}


# Added tokens must also be in the model's vocabulary: otherwise the tokenizers library numbers them anew from its end.


def _byte_pairs(specs: Sequence[Mapping[str, Any]], ids: Mapping[str, int]) -> Spec:
    prefix = len(specs[0]["model"].get("continuing_subword_prefix") or "")
    merges = dict.fromkeys((one, two) for spec in specs for one, two in spec["model"]["merges"])
    kept = [[one, two] for one, two in merges if one in ids and two in ids and one + two[prefix:] in ids]
    return {**specs[0]["model"], "vocab": dict(ids), "merges": kept}


def _words(specs: Sequence[Mapping[str, Any]], ids: Mapping[str, int]) -> Spec:
    return {**specs[0]["model"], "vocab": dict(ids)}


def _unigram(specs: Sequence[Mapping[str, Any]], ids: Mapping[str, int]) -> Spec:
    likelihoods: dict[str, float] = {}
    for piece, likelihood in chain(*(spec["model"]["vocab"] for spec in specs)):
        likelihoods.setdefault(piece, likelihood)
    lowest = min(likelihoods.values()) - _UNLIKELY
    by_id = sorted(ids, key=lambda token: ids[token])
    if [ids[token] for token in by_id] != list(range(len(by_id))):
        raise MergingError(f"tokenizer: id {_first_gap(ids)} has no token: a Unigram tokenizer must have all")
    return {**specs[0]["model"], "vocab": [[token, likelihoods.get(token, lowest)] for token in by_id]}


def _first_gap(ids: Mapping[str, int]) -> int:
    taken = set(ids.values())
    return next(id for id in count() if id not in taken)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()

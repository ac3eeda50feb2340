"""The vocabulary of a merge of models whose tokenizers differ: which token has which row, and where each row is from.

Tokens are matched by their text. Before models are merged, every one of them gets a row for every token: its own, or,
for a token that it lacks, a default, as mergekit's `tokenizer_source` has it. merging.tokenizers.view applies the
plan.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from merging.errors import MergingError
from merging.mergekit.config import BASE, UNION, ZERO, FromModel, ModelName, TokenRule
from merging.tokenizers.source_tokenizer import CONFIG, SourceTokenizer, load_tokenizer
from merging.tokenizers.union import tokenizer_files, union_mismatch, united

_TOKEN_ID = re.compile(r"(bos|eos|pad|unk|sep|cls|mask|decoder_start)_token_id")
_ABSENT = -1
_MEAN, _NOWHERE = "mean", "nowhere"


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """A merge's vocabulary.

    tokens: token → row. rows: of the embeddings, padding included. leading: whose tokenizer the result's is or
    grew from; special tokens, chat template and generation defaults are its, too. files: all of the result's small
    files but config.json, by name.

    own: for each model, by row: the row that it has itself, or -1. copies: (donor, rows, the donor's rows) for
    models without an own one. averaged: rows that are the mean of all models that have them. blank: rows without a
    token, or whose token no model has.
    """

    tokens: Mapping[str, int]
    rows: int
    leading: ModelName
    files: Mapping[str, bytes]
    token_ids: Mapping[str, Any]
    own: Mapping[ModelName, Tensor]
    copies: tuple[tuple[ModelName, Tensor, Tensor], ...]
    averaged: Tensor
    blank: Tensor

    def settled(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A merge's config.json with this vocabulary's size and special tokens."""
        others = {key: None for key in config if _TOKEN_ID.fullmatch(key)}
        return {**config, **others, **self.token_ids, "vocab_size": self.rows}


def plan_vocabulary(
    tokenizers: Mapping[ModelName, SourceTokenizer],
    source: ModelName | str,
    *,
    base: ModelName | None,
    pad_to_multiple_of: int | None = None,
    overrides: Mapping[str, TokenRule] = MappingProxyType({}),
) -> Vocabulary:
    """The vocabulary of a merge.

    tokenizers: of every model, the leading ones first. source: "union", "base" (the base's, else the first model's),
    or the model whose vocabulary it is. base: of the merge, None where it has none: a token that others lack is
    taken from it if it can be. pad_to_multiple_of: rows are added up to a multiple of that number. overrides: token →
    rule; a token that the vocabulary lacks is added to it. MergingError, before a weight is read, for tokenizers that
    do not go together, and for rules that name what is not there.
    """
    leading = (base or next(iter(tokenizers))) if source in (UNION, BASE) else source
    if not isinstance(leading, ModelName) or leading not in tokenizers:
        raise MergingError(f"tokenizer source: got {leading}: it is not among the merged models")
    files, tokens = _tokenizer(tokenizers, leading, together=source == UNION, overrides=overrides)
    height = max(tokens.values()) + 1
    rows = height + -height % (pad_to_multiple_of or 1)
    own = {model: _own_rows(tokenizer, tokens, overrides, rows) for model, tokenizer in tokenizers.items()}
    copies: dict[ModelName, list[tuple[int, int]]] = {}
    averaged, blank = [], sorted(set(range(rows)) - set(tokens.values()))
    for token, row in tokens.items():
        origin = _origin(token, tokenizers, overrides.get(token), base)
        if isinstance(origin, tuple):
            copies.setdefault(origin[0], []).append((row, origin[1]))
        elif origin == _MEAN:
            averaged.append(row)
        elif origin == _NOWHERE:
            blank.append(row)
    return Vocabulary(
        tokens=tokens,
        rows=rows,
        leading=leading,
        files=files,
        token_ids={key: value for key, value in tokenizers[leading].config.items() if _TOKEN_ID.fullmatch(key)},
        own=own,
        copies=tuple((model, *_columns(pairs)) for model, pairs in copies.items()),
        averaged=torch.tensor(averaged, dtype=torch.int64),
        blank=torch.tensor(blank, dtype=torch.int64),
    )


def _tokenizer(
    tokenizers: Mapping[ModelName, SourceTokenizer],
    leading: ModelName,
    *,
    together: bool,
    overrides: Mapping[str, TokenRule],
) -> tuple[dict[str, bytes], Mapping[str, int]]:
    """The result's small files, and its tokens: token → row."""
    lead = tokenizers[leading]
    others = [tokenizer for model, tokenizer in tokenizers.items() if together and model != leading]
    for other in others:
        if reason := union_mismatch(lead, other):
            remedy = "choose one vocabulary with `tokenizer_source: base`, or leave the model out"
            raise MergingError(
                f"{other.label}: its tokens cannot be added to those of {lead.label}: {reason}; {remedy}"
            )
    known = {*lead.vocabulary, *(token for other in others for token in other.tokens)}
    spec, tokens = united(lead, others, [token for token in overrides if token not in known])
    if tokens == lead.vocabulary and len(spec["added_tokens"]) == len(lead.spec["added_tokens"]):
        return {name: content for name, content in lead.files.items() if name != CONFIG}, tokens
    files = tokenizer_files(lead, spec)
    # The files are read as their readers will: what transformers makes of them must be what was planned.
    found = load_tokenizer("the merged tokenizer", files | {CONFIG: lead.files.get(CONFIG, b"{}")}).get_vocab()
    if found != tokens:
        odd = min(token for token in {*found, *tokens} if found.get(token) != tokens.get(token))
        why = f"transformers gives {odd!r} the id {found.get(odd)}, not {tokens.get(odd)}"
        raise MergingError(f"{lead.label}: its tokenizer cannot be extended: {why}; use `tokenizer_source: base`")
    return files, tokens


def _own_rows(
    tokenizer: SourceTokenizer, tokens: Mapping[str, int], overrides: Mapping[str, TokenRule], rows: int
) -> Tensor:
    own = torch.full((rows,), _ABSENT)
    shared = [token for token in tokens if token in tokenizer.tokens]
    places = torch.tensor([tokens[token] for token in shared], dtype=torch.int64)
    own[places] = torch.tensor([tokenizer.tokens[token] for token in shared], dtype=torch.int64)
    own[[tokens[token] for token, rule in overrides.items() if rule.force and token in tokens]] = _ABSENT
    return own


def _origin(
    token: str,
    tokenizers: Mapping[ModelName, SourceTokenizer],
    rule: TokenRule | None,
    base: ModelName | None,
) -> tuple[ModelName, int] | str:
    """Where models that lack a token have its row from: (model, row), or one of the words below."""
    if rule is not None and rule.source is not None:
        return _chosen(token, tokenizers, rule.source) if isinstance(rule.source, FromModel) else ZERO
    holders = [model for model, tokenizer in tokenizers.items() if token in tokenizer.tokens]
    if rule is not None and (rule.force or not holders):
        why = "forced without a source" if rule.force else "a token that no model has"
        raise MergingError(f"tokenizer.tokens.{token}: got {why}: name a source, such as `{{kind: zero}}`")
    if len(holders) == 1:
        return holders[0], tokenizers[holders[0]].tokens[token]
    if base in holders:
        return base, tokenizers[base].tokens[token]
    return _MEAN if holders else _NOWHERE


def _columns(pairs: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    rows, theirs = torch.tensor(pairs, dtype=torch.int64).unbind(1)
    return rows, theirs


def _chosen(token: str, tokenizers: Mapping[ModelName, SourceTokenizer], source: FromModel) -> tuple[ModelName, int]:
    """The row that a rule names; MergingError if there is none."""
    tokenizer = tokenizers.get(source.model)
    if tokenizer is None:
        raise MergingError(f"tokenizer.tokens.{token}: got {source.model}: it is not among the merged models")
    if source.token_id is not None:
        if not 0 <= source.token_id < tokenizer.rows:
            last = tokenizer.rows - 1
            raise MergingError(f"tokenizer.tokens.{token}: got token_id {source.token_id}: use 0 to {last}")
        return source.model, source.token_id
    wanted = token if source.token is None else source.token
    if wanted not in tokenizer.tokens:
        raise MergingError(f"tokenizer.tokens.{token}: got {source.model}: it has no token {wanted!r}: name another")
    return source.model, tokenizer.tokens[wanted]

"""The vocabulary of a merge of models whose tokenizers differ: the row of each token, and the source of each row.

Tokens are matched by their text. Before the merge every model gets a row for every token: its own or, for a token that
it lacks, a default by the rules of mergekit's `tokenizer_source`. merging.tokenizers.view applies the plan.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from merging.errors import MergingError
from merging.identity import ModelId
from merging.mergekit.config import BASE, UNION, ZERO, FromModel, TokenRule
from merging.tokenizers.source_tokenizer import CONFIG, SourceTokenizer, load_tokenizer
from merging.tokenizers.union import tokenizer_files, union_mismatch, unite_tokenizers

_TOKEN_ID = re.compile(r"(bos|eos|pad|unk|sep|cls|mask|decoder_start)_token_id")
_ABSENT = -1
_MEAN, _NOWHERE = "mean", "nowhere"


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """A merge's vocabulary.

    tokens: token → row. rows: number of rows of the embeddings, padding included.
    leading: the model whose tokenizer, special tokens, chat template and generation defaults the result has; its
    tokenizer may have been extended. files: name → content of the result's small files, without config.json.
    token_ids: special token ids of the leading model's config.json.
    own: model → for each row, the row of the same token in the model, or -1.
    copies: (other model, rows, its rows of the same tokens), for models without a row of their own.
    averaged: rows that are the mean of all deciding models that have them.
    blank: rows without a token, or whose token no deciding model has.
    deciding: the models that decide on the vocabulary, and whose rows fill those that others lack.
    """

    tokens: Mapping[str, int]
    rows: int
    leading: ModelId
    files: Mapping[str, bytes]
    token_ids: Mapping[str, object]
    own: Mapping[ModelId, Tensor]
    copies: tuple[tuple[ModelId, Tensor, Tensor], ...]
    averaged: Tensor
    blank: Tensor
    deciding: tuple[ModelId, ...]

    def apply_to(self, config: Mapping[str, object]) -> dict[str, object]:
        """A merge's config.json, with this vocabulary's size and special tokens."""
        others = {key: None for key in config if _TOKEN_ID.fullmatch(key)}
        return {**config, **others, **self.token_ids, "vocab_size": self.rows}


def plan_vocabulary(
    tokenizers: Mapping[ModelId, SourceTokenizer],
    source: ModelId | str,
    *,
    base: ModelId | None,
    pad_to_multiple_of: int | None = None,
    overrides: Mapping[str, TokenRule] = MappingProxyType({}),
    among: Sequence[ModelId] = (),
) -> Vocabulary:
    """Plan the vocabulary of a merge.

    tokenizers: the tokenizer of every model, the leading ones first.
    source: "union", "base" (the base's, else the first model's), or the model whose vocabulary it is.
    base: base of the merge, or None; a row that others lack is taken from it if it has one.
    pad_to_multiple_of: the number of rows becomes a multiple of it.
    overrides: token → rule; a token that the vocabulary lacks is added to it.
    among: the models that alone decide on the vocabulary, the first of them in the base's place; empty for all. So
    merges of other models have the same rows for the same tokens, filled alike.
    MergingError, before a weight is read, for tokenizers that do not fit together, and for rules that name a missing
    model, token or row.
    """
    deciding = {model: tokenizers[model] for model in among} if among else tokenizers
    base = among[0] if among else base
    leading = (base or next(iter(tokenizers))) if source in (UNION, BASE) else source
    if not isinstance(leading, ModelId) or leading not in deciding:
        raise MergingError(f"tokenizer source: got {leading}: it is not among the merged models")
    files, tokens = _merge_tokenizers(deciding, leading, together=source == UNION, overrides=overrides)
    height = max(tokens.values()) + 1
    rows = height + -height % (pad_to_multiple_of or 1)
    own = {model: _own_rows(tokenizer, tokens, overrides, rows) for model, tokenizer in tokenizers.items()}
    sources = [(row, _row_source(token, deciding, overrides.get(token), base)) for token, row in tokens.items()]
    copies: dict[ModelId, list[tuple[int, int]]] = {}
    for row, row_source in sources:
        if isinstance(row_source, tuple):
            copies.setdefault(row_source[0], []).append((row, row_source[1]))
    averaged = [row for row, row_source in sources if row_source == _MEAN]
    blank = sorted(set(range(rows)) - set(tokens.values()))
    blank += [row for row, row_source in sources if row_source == _NOWHERE]
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
        deciding=tuple(deciding),
    )


def _merge_tokenizers(
    tokenizers: Mapping[ModelId, SourceTokenizer],
    leading: ModelId,
    *,
    together: bool,
    overrides: Mapping[str, TokenRule],
) -> tuple[dict[str, bytes], Mapping[str, int]]:
    """(the result's small files, token → row)."""
    lead = tokenizers[leading]
    others = [tokenizer for model, tokenizer in tokenizers.items() if together and model != leading]
    for other in others:
        if reason := union_mismatch(lead, other):
            remedy = "choose one vocabulary with `tokenizer_source: base`, or leave the model out"
            raise MergingError(
                f"{other.label}: its tokens cannot be added to those of {lead.label}: {reason}; {remedy}"
            )
    known = {*lead.vocabulary, *(token for other in others for token in other.tokens)}
    spec, tokens = unite_tokenizers(lead, others, [token for token in overrides if token not in known])
    if tokens == lead.vocabulary and len(spec["added_tokens"]) == len(lead.spec["added_tokens"]):
        return {name: content for name, content in lead.files.items() if name != CONFIG}, tokens
    files = tokenizer_files(lead, spec)
    # Read the files as users will: transformers must give every token the planned id.
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


def _row_source(
    token: str,
    tokenizers: Mapping[ModelId, SourceTokenizer],
    rule: TokenRule | None,
    base: ModelId | None,
) -> tuple[ModelId, int] | str:
    """The source of a token's row in models that lack it: (model, row), or ZERO, _MEAN or _NOWHERE."""
    if rule is not None and rule.source is not None:
        return _row_of_rule(token, tokenizers, rule.source) if isinstance(rule.source, FromModel) else ZERO
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


def _row_of_rule(token: str, tokenizers: Mapping[ModelId, SourceTokenizer], source: FromModel) -> tuple[ModelId, int]:
    """The (model, row) that a rule names; MergingError if there is none."""
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

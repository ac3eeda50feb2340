"""A language model with the rows of a vision-language model's tokens, whose language part it is read as.

A vision-language model has rows that its language model had not: those of the tokens that stand for pictures, and of
padding. Tokens are matched by their text; a row for which the language model has no token is the carrier's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from merging.errors import MergingError
from merging.sources.weights import AdaptedTensor, Weights
from merging.tokenizers.source_tokenizer import CONFIG, OLDER_VOCABULARIES, SETTINGS, TOKENIZER, read_source_tokenizer
from merging.writing.companions import read_companions

_TOKENS = (TOKENIZER, SETTINGS, "added_tokens.json")

_CARRIERS = -1
"""Stands for a row of the carrier."""


class CarriedRows(Weights):
    """A language model whose tensors with a row per token have the carrier's rows: its own, where it has the token."""

    def __init__(self, own: Weights, carrier: Weights, by_token: Iterable[str], rows: Tensor) -> None:
        """Use `with_carrier_rows`. rows: for each row of the carrier, that of the same token in `own`, or -1."""
        self._own = own
        self._carrier = carrier
        self._by_token = frozenset(by_token)
        self._rows = rows
        resized = {
            name: replace(header, shape=carrier.header(name).shape) if name in self._by_token else header
            for name, header in own.headers.items()
        }
        super().__init__(own.folder, resized)

    def stored_name(self, name: str) -> str:
        """The name of a tensor in the model's files."""
        return self._own.stored_name(name)

    @torch.no_grad()
    def tensor(self, name: str) -> Tensor:
        """A tensor; one with a row per token is made anew at each call."""
        own = self._own.tensor(name)
        if name not in self._by_token:
            return own
        theirs = self._carrier.tensor(name)
        found = theirs.to(torch.promote_types(own.dtype, theirs.dtype), copy=True)
        taken = (self._rows != _CARRIERS).nonzero().flatten()
        return found.index_copy_(0, taken, own.index_select(0, self._rows[taken]).to(found.dtype))

    def adapted(self, name: str) -> AdaptedTensor | None:
        """What an adapter changes in a tensor that has the model's own rows."""
        return None if name in self._by_token else self._own.adapted(name)

    def verify(self) -> None:
        """Read every weight of the model as it is stored."""
        self._own.verify()


def with_carrier_rows(own: Weights, carrier: Weights, by_token: Iterable[str]) -> Weights:
    """A language model with the carrier's rows; itself, if both have the same rows for the same tokens.

    own, carrier: by the carrier's names; their folders have the tokenizers. by_token: names of the tensors with a row
    per token. MergingError if tokens cannot be matched: where a model has no tokenizer, and other rows.
    """
    names = tuple(name for name in by_token if name in own.headers)
    heights = [one.header(names[0]).shape[0] for one in (own, carrier)]
    if heights[0] == heights[1] and _same_files(own.folder, carrier.folder):
        return own
    tokens = [_read_tokens(one, height) for one, height in zip((own, carrier), heights, strict=True)]
    if not all(tokens):
        if heights[0] == heights[1]:
            return own
        lacking = (own if not tokens[0] else carrier).folder
        raise MergingError(
            f"{lacking}: it has no tokenizer, by which its {heights[0]} rows could be matched with others"
        )
    mine, theirs = tokens
    rows = torch.full((heights[1],), _CARRIERS)
    shared = [token for token in theirs if token in mine]
    rows[[theirs[token] for token in shared]] = torch.tensor([mine[token] for token in shared], dtype=torch.int64)
    return own if torch.equal(rows, torch.arange(heights[0])) else CarriedRows(own, carrier, names, rows)


def _read_tokens(weights: Weights, rows: int) -> dict[str, int]:
    """Token → row; empty for a folder without a tokenizer."""
    files = read_companions(weights.folder)
    if files.keys().isdisjoint((TOKENIZER, *OLDER_VOCABULARIES)):
        return {}
    config = (weights.folder / CONFIG).read_bytes()
    return dict(read_source_tokenizer(str(weights.folder), files | {CONFIG: config}, rows).tokens)


def _same_files(one: Path, other: Path) -> bool:
    """Whether two folders have the same tokenizer.json, and the same tokens besides."""
    read = [[_content(folder / name) for name in _TOKENS] for folder in (one, other)]
    return read[0] == read[1] and read[0][0] is not None


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None

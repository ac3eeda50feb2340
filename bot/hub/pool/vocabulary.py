"""The one vocabulary of all merges of a pool, where those of its members differ, as values that a ledger keeps."""

from __future__ import annotations

from dataclasses import dataclass

from merging.identity import ModelId

SAME = "same"
"""The value of search.vocabulary for models that agree on their tokens."""


@dataclass(frozen=True)
class TokenShare:
    """The rows of a pool's vocabulary in one member.

    own: rows that it has itself. copied: (repo, rows) that another member gives it. averaged: rows that are the mean of
    several others'. dropped: tokens of its own that the vocabulary lacks. is_whole: whether its own tokenizer is the
    one of the merges.
    """

    repo: str
    own: int
    copied: tuple[tuple[str, int], ...]
    averaged: int
    dropped: int
    is_whole: bool


@dataclass(frozen=True)
class PoolVocabulary:
    """The vocabulary of all merges of a pool.

    chosen: search.vocabulary. deciding: the members that decide on it, the leading one first. tokens: number of tokens.
    rows: of the embeddings; those beyond the tokens, or whose token no deciding member has a row for, are the mean of a
    model's others. shares: every member's. remarks: tokens that members treat differently, and how the merges do, a
    line each.
    """

    chosen: str
    deciding: tuple[ModelId, ...]
    tokens: int
    rows: int
    shares: tuple[TokenShare, ...]
    remarks: tuple[str, ...]

    @property
    def leader(self) -> str:
        """The repo whose ids, special tokens and chat template the merges have."""
        return self.deciding[0].name

    @property
    def parted(self) -> tuple[str, ...]:
        """The repos whose own tokenizer is another one than the merges', so that they are asked with their own."""
        return tuple(share.repo for share in self.shares if not share.is_whole)


def describe_vocabulary(found: PoolVocabulary) -> str:
    """One line: whose tokens the merges have, and which members are asked with their own."""
    if found.chosen == SAME:
        return f"the merges have {found.rows:,} rows in their embeddings: those that only pad a source's are left out"
    shared = ", ".join(model.name for model in found.deciding)
    asked = f"; asked with their own tokenizers when alone: {', '.join(found.parted)}" if found.parted else ""
    return f"the merges have {found.tokens:,} tokens, those of {shared}, in {found.rows:,} rows{asked}"

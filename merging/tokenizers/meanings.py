"""Tokens that two tokenizers spell alike: whether they mean the same, and whose settings hold where they differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from merging.tokenizers.source_tokenizer import SourceTokenizer

_FLAGS = {
    "special": ("is special", "is not special"),
    "normalized": ("is found in normalised text", "is found in text as it is written"),
    "single_word": ("is found as a whole word only", "is found within words"),
    "lstrip": ("takes the spaces before it", "leaves the spaces before it"),
    "rstrip": ("takes the spaces after it", "leaves the spaces after it"),
}
"""Setting of an added token → what it means, and what its absence means."""


def find_conflict(one: SourceTokenizer, two: SourceTokenizer) -> str | None:
    """A token that is special to one tokenizer while the other makes it of plain text; None if there is none.

    Rows of such tokens stand for different things, and a merge of them for neither.
    """
    for first, second in ((one, two), (two, one)):
        if token := _plain_piece(second, _special_tokens(first) - _special_tokens(second)):
            return f"its token {token!r} is {_role(two, token)}, and in {one.label} {_role(one, token)}"
    return None


def describe_differences(tokenizers: Sequence[SourceTokenizer]) -> Iterator[str]:
    """A line for each added token, and each special token's role, in which a tokenizer differs from an earlier one.

    The first tokenizer that has a token decides on its settings, and the first of all on the roles.
    """
    owners: dict[str, tuple[SourceTokenizer, Mapping[str, Any]]] = {}
    for tokenizer in tokenizers:
        for token in tokenizer.spec["added_tokens"]:
            owner, held = owners.setdefault(token["content"], (tokenizer, token))
            for flag, (yes, no) in _FLAGS.items():
                if held[flag] != token[flag]:
                    kept, lost = (yes, no) if held[flag] else (no, yes)
                    yield f"{token['content']!r} {kept}, as in {owner.label}; in {tokenizer.label} it {lost}"
    leading = tokenizers[0]
    for tokenizer in tokenizers[1:]:
        for role, token in tokenizer.roles.items():
            leading_token = leading.roles.get(role)
            if leading_token is not None and leading_token != token:
                yield f"the {role} is {leading_token!r}, as in {leading.label}; in {tokenizer.label} it is {token!r}"


def _special_tokens(tokenizer: SourceTokenizer) -> frozenset[str]:
    flagged = (token["content"] for token in tokenizer.spec["added_tokens"] if token["special"])
    return tokenizer.special | frozenset(flagged)


def _plain_piece(tokenizer: SourceTokenizer, tokens: frozenset[str]) -> str | None:
    """The first of some tokens that the tokenizer has, and makes when it reads the same text."""
    import tokenizers

    added = {token["content"] for token in tokenizer.spec["added_tokens"]}
    known = sorted(token for token in tokens if token in tokenizer.tokens and token not in added)
    if not known:
        return None
    reader = tokenizers.Tokenizer.from_str(json.dumps(tokenizer.spec))
    return next((token for token in known if token in reader.encode(token, add_special_tokens=False).tokens), None)


def _role(tokenizer: SourceTokenizer, token: str) -> str:
    return "special" if token in _special_tokens(tokenizer) else "a piece of plain text"

"""Stop strings by lm-eval's rule, without decoding every answer at every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Decoder(Protocol):
    """The methods of a tokenizer that are used here."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Tokens of a text."""

    def decode(self, tokens: Sequence[int], /) -> str:
        """Text of some tokens."""


class StopStrings:
    """Strings that end an answer.

    lm-eval looks for each in the text of the newest tokens: as many as the encoded string has, and two more. A string
    can only be completed by a token whose text holds the string's last character; after other tokens nothing needs to
    be decoded.
    """

    def __init__(self, tokenizer: Decoder, strings: Sequence[str]) -> None:
        self.strings = tuple(strings)
        self._tokenizer = tokenizer
        self._reach = {text: len(tokenizer.encode(text, add_special_tokens=False)) + 2 for text in strings}
        # A tokenizer may put spaces between tokens that belong to no token's text: then every token is looked at.
        self._always = any(not text or text[-1].isspace() for text in strings)
        self._last = {text[-1] for text in strings if text}
        self._may_complete: dict[int, bool] = {}

    def reached(self, answer: Sequence[int]) -> bool:
        """Whether the newest token of an answer completes one of the strings."""
        if not self._may_complete_one(answer[-1]):
            return False
        return any(text in self._tokenizer.decode(answer[-reach:]) for text, reach in self._reach.items())

    def within(self, answer: Sequence[int]) -> bool:
        """Whether a whole answer holds one of the strings, however it is split into tokens."""
        text = self._tokenizer.decode(answer)
        return any(string and string in text for string in self.strings)

    def _may_complete_one(self, token: int) -> bool:
        if self._always:
            return True
        if token not in self._may_complete:
            text = self._tokenizer.decode([token])
            part_of_a_character = "\N{REPLACEMENT CHARACTER}" in text
            self._may_complete[token] = part_of_a_character or any(character in text for character in self._last)
        return self._may_complete[token]

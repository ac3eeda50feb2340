"""When a generated answer ends: lm-eval's rule for stop strings, without decoding every answer at every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class StopStrings:
    """Strings that end an answer.

    lm-eval looks for each in the text of the newest tokens, two more than the string has when it is encoded. An
    occurrence can only become complete with a token whose text holds the string's last character, so that all
    other tokens need no look.
    """

    def __init__(self, tokenizer: Any, strings: Sequence[str]) -> None:
        self.strings = tuple(strings)
        self._tokenizer = tokenizer
        self._reach = {text: len(tokenizer.encode(text, add_special_tokens=False)) + 2 for text in strings}
        # Tokenizers may put spaces between tokens: these belong to no token's text.
        self._always = any(not text or text[-1].isspace() for text in strings)
        self._last = {text[-1] for text in strings if text}
        self._may_complete: dict[int, bool] = {}

    def reached(self, answer: Sequence[int]) -> bool:
        """Whether the newest token of an answer completes one of the strings."""
        if not self._may(answer[-1]):
            return False
        return any(text in self._tokenizer.decode(answer[-reach:]) for text, reach in self._reach.items())

    def within(self, answer: Sequence[int]) -> bool:
        """Whether a whole answer holds one of the strings, in whatever tokens."""
        text = self._tokenizer.decode(answer)
        return any(mark and mark in text for mark in self.strings)

    def _may(self, token: int) -> bool:
        if self._always:
            return True
        if token not in self._may_complete:
            text = self._tokenizer.decode([token])
            part_of_a_character = "\N{REPLACEMENT CHARACTER}" in text
            self._may_complete[token] = part_of_a_character or any(mark in text for mark in self._last)
        return self._may_complete[token]

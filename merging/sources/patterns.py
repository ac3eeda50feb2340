"""Regular expressions of strangers, which may be written so that matching them takes years."""

from __future__ import annotations

import time

import regex

from merging.errors import MergingError

MOST_SECONDS = 5.0
"""Time for all matches of one adapter together. Honest ones take milliseconds."""


class PatternMatcher:
    """Matches patterns within a limit of time for all of them. Their syntax is that of `re`."""

    def __init__(self, label: str, most_seconds: float = MOST_SECONDS) -> None:
        """label: whose patterns they are, in errors."""
        self._label = label
        self._left = most_seconds

    def match(self, pattern: str, text: str, *, whole: bool = False) -> regex.Match[str] | None:
        """A match at the beginning of the text, or with all of it; MergingError if the time is up."""
        began = time.perf_counter()
        find = regex.fullmatch if whole else regex.match
        try:
            found = find(pattern, text, timeout=max(self._left, 0.001))
        except TimeoutError as error:
            raise self._too_slow(pattern) from error
        self._left -= time.perf_counter() - began
        if self._left < 0:
            raise self._too_slow(pattern)
        return found

    def _too_slow(self, pattern: str) -> MergingError:
        remedy = "write the module names themselves"
        return MergingError(f"{self._label}: pattern {pattern[:60]!r}: takes too long to match; {remedy}")

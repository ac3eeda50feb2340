"""Answers that no score should be trusted with: nothing at all, or one thing over and over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

FINE = "ok"
EMPTY = "empty"
LOOPING = "looping"
CUT_OFF = "cut off"

REPEATS = 4  # a unit that often in a row, up to the end, is a loop ...
WORDS, LONGEST_UNIT_IN_WORDS = 6, 12  # ... if it fills at least so many words
CHARACTERS, LONGEST_UNIT_IN_CHARACTERS = 24, 40  # ... or characters, for scripts without spaces


def flag(text: str, stopped: bool | None) -> str:
    """What is wrong with a generated answer: "empty", "looping", "cut off", or "ok" for nothing.

    `stopped` tells whether the model ended the answer by itself (False: it ran out of tokens; None: unknown).
    Running out of tokens alone is reported but is no degeneration: see `share`.
    """
    if not text.strip():
        return EMPTY
    stripped = text.rstrip()
    if _loops(stripped.split(), LONGEST_UNIT_IN_WORDS, WORDS) or _loops(
        stripped, LONGEST_UNIT_IN_CHARACTERS, CHARACTERS
    ):
        return LOOPING
    return CUT_OFF if stopped is False else FINE


def share(flags: Iterable[str | None]) -> float:
    """Fraction of the generated answers that are empty or looping; 0 if none was generated (every flag is None).

    "cut off" does not count: a model that was never taught to stop answers like that and may still be right.
    """
    generated = [flag for flag in flags if flag is not None]
    return sum(flag in (EMPTY, LOOPING) for flag in generated) / len(generated) if generated else 0.0


def _loops(units: Sequence[str], longest: int, least: int) -> bool:
    """Whether the end of `units` repeats a block of at most `longest` units, over at least `least` units."""
    for block in range(1, min(longest, len(units) // REPEATS) + 1):
        tail = block
        while tail < len(units) and units[-tail - 1] == units[-tail - 1 + block]:
            tail += 1
        if tail >= max(least, REPEATS * block):
            return True
    return False

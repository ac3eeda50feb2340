"""Degenerate answers: empty ones, and those that repeat one thing over and over; and the names of all flags."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

FINE = "ok"
EMPTY = "empty"
LOOPING = "looping"
CUT_OFF = "cut off"
OTHER_LANGUAGE = "other language"
NO_LANGUAGE = "no language"
FLAGS = (FINE, EMPTY, LOOPING, CUT_OFF, OTHER_LANGUAGE, NO_LANGUAGE)
"""Every flag of a generated answer; the last two only if a skill requires a language."""

FLAT = "flat"
SATURATED = "saturated"
EQUAL = "equal"
NOT_FINITE = "not finite"
PICTURE_FLAGS = (FINE, FLAT, SATURATED, EQUAL, NOT_FINITE)
"""Every flag of a picture."""

DEGENERATE = frozenset({EMPTY, LOOPING, FLAT, SATURATED, EQUAL, NOT_FINITE})
"""The flags that count. "cut off" does not, because a model that never learnt to stop may still be right."""

# A unit repeated REPEATS times up to the end is a loop if it fills at least WORDS words, or CHARACTERS characters in
# scripts without spaces. If it fills MANY_WORDS or MANY_CHARACTERS, LONG_REPEATS times are enough.
REPEATS, LONG_REPEATS = 4, 3
WORDS, MANY_WORDS, LONGEST_UNIT_IN_WORDS = 6, 40, 64
CHARACTERS, MANY_CHARACTERS, LONGEST_UNIT_IN_CHARACTERS = 24, 200, 240

_NUMBER = re.compile(r"[\d.,%\s]+")
_LONGEST_NUMBER = 60
_RULER = re.compile(r"[-=*_#~|+:.\s]+")
_LONGEST_RULER = 160
"""Ruled lines, such as the head of a table, are not loops up to this many characters."""
_WORDS_OF_A_COUNTED_UNIT = 3


@lru_cache(maxsize=2**14)  # candidates of one search give the same answers again and again
def flag_answer(text: str, stopped: bool | None) -> str:
    """Flag a generated answer as "empty", "looping", "cut off" or "ok".

    stopped: whether the model ended the answer by itself (False: it ran out of tokens; None: unknown).

    A loop is a unit repeated up to the end of the answer, the last time perhaps in part. Numbered repetitions of the
    same words ("1. So it is 5. 2. So it is 5. ...") are a loop, too; long numbers and ruled lines are not.
    """
    visible = _visible(text)
    if not visible.strip():
        return EMPTY
    stripped = visible.rstrip()
    words = stripped.split()
    if _loops(words, LONGEST_UNIT_IN_WORDS, WORDS, MANY_WORDS) or _counts_on(words) or _loops_by_character(stripped):
        return LOOPING
    return CUT_OFF if stopped is False else FINE


def describe_degenerate(flags: Iterable[str | None]) -> tuple[str, str]:
    """What degenerates, and how, in words; flags: of some answers, or of some pictures."""
    if {FLAT, SATURATED, EQUAL, NOT_FINITE}.intersection(flags):
        return "pictures", "flat, saturated, equal or not finite"
    return "answers", "empty or looping"


def degenerate_share(flags: Iterable[str | None]) -> float:
    """Fraction of the generated answers and pictures that are degenerate; 0 if none was generated (all flags None)."""
    generated = [flag for flag in flags if flag is not None]
    return sum(flag in DEGENERATE for flag in generated) / len(generated) if generated else 0.0


def _visible(text: str) -> str:
    """The text without invisible characters, such as zero-width spaces."""
    return "".join(c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cf", "Cn"))


def _loops(units: Sequence[str], longest: int, least: int, many: int) -> bool:
    """Whether the end of `units` repeats a block of at most `longest` units, over at least `least` units."""
    return any(
        tail >= max(least, REPEATS * block) or tail >= max(many, LONG_REPEATS * block)
        for block in range(1, min(longest, len(units) // LONG_REPEATS) + 1)
        for tail in [_repeating_tail(units, block)]
    )


def _repeating_tail(units: Sequence[str], block: int) -> int:
    """The number of units at the end that equal the one a block later."""
    tail = block
    while tail < len(units) and units[-tail - 1] == units[-tail - 1 + block]:
        tail += 1
    return tail


def _loops_by_character(text: str) -> bool:
    """`_loops` for characters, unless the text ends in a number or a ruled line of acceptable length."""
    number, ruler = (re.search(f"(?:{kind.pattern})$", text) for kind in (_NUMBER, _RULER))
    if (number and len(number[0]) <= _LONGEST_NUMBER) or (ruler and len(ruler[0]) <= _LONGEST_RULER):
        return False
    return _loops(text, LONGEST_UNIT_IN_CHARACTERS, CHARACTERS, MANY_CHARACTERS)


def _counts_on(words: Sequence[str]) -> bool:
    """Whether the answer ends in repetitions that differ in one number alone, which goes up by one."""
    return any(
        sum(word.isalpha() for word in words[-block:]) >= _WORDS_OF_A_COUNTED_UNIT
        and _counting_tail(words, block) >= max(WORDS, REPEATS * block)
        for block in range(_WORDS_OF_A_COUNTED_UNIT + 1, min(LONGEST_UNIT_IN_WORDS, len(words) // REPEATS) + 1)
    )


def _counting_tail(words: Sequence[str], block: int) -> int:
    """`_repeating_tail`, except that one word of the block may count up."""
    tail, counter = block, None
    while tail < len(words):
        earlier, later = words[-tail - 1], words[-tail - 1 + block]
        if earlier != later:
            place = tail % block
            if not _next_number(earlier, later) or counter not in (None, place):
                break
            counter = place
        tail += 1
    return tail


def _next_number(earlier: str, later: str) -> bool:
    """Whether the words are equal except for one number, which is one higher in the later."""
    if re.sub(r"\d+", "0", earlier) != re.sub(r"\d+", "0", later):
        return False
    changed = [(a, b) for a, b in zip(re.findall(r"\d+", earlier), re.findall(r"\d+", later), strict=True) if a != b]
    return len(changed) == 1 and int(changed[0][1]) == int(changed[0][0]) + 1

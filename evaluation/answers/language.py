"""Detects the language of an answer, for skills that count only right answers in one language.

The first evolved merges were searched for with the criterion "right and in Japanese" (arXiv 2403.13187): an English
maths model that copes with Japanese questions reasons in English, and only counting both makes the search keep the
language. They required that fastText gives Japanese more than one half; here the detector is lingua, which includes
its models.

The rules:

- An answer without language (a number, a formula, an option's letter; see `NO_LANGUAGE`) is the same in every language,
  so it counts. It is flagged, and cards report how many there are.
- Words in scripts of other languages must be fewer than those in scripts of the wanted one: English sentences do not
  become Japanese by one word of kana. Latin letters inside a Japanese sentence do no harm.
- The words in scripts of the wanted language go to the detector, which chooses among all 75 languages that it knows:
  among fewer, an unexpected one would pass for the wanted one. The answer is in another language if one is `CLEARLY`
  times as probable as the wanted one, because short texts in related languages (Croatian and Bosnian, say) are often
  undecidable.
- Below `DETECTABLE` letters the script alone decides, because detectors guess at single words: "Paris" passes for any
  language of Latin letters, and never for Japanese. A few Chinese characters pass for Japanese, too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from evaluation.answers.degenerate import NO_LANGUAGE, OTHER_LANGUAGE

if TYPE_CHECKING:
    from lingua import LanguageDetector

DETECTABLE = 12
"""Least number of letters for the detector."""
CLEARLY = 10.0
"""The factor by which another language must be more probable."""
_FEW = 3
"""In scripts with an alphabet, fewer letters are variables, units or options."""

_WRITTEN_IN: Mapping[tuple[str, ...], str] = {
    ("LATIN",): "af az bs ca cs cy da de en eo es et eu fi fr ga hr hu id is it la lg lt lv mi ms nb nl nn pl pt "
    "ro sk sl sn so sq st sv sw tl tn tr ts vi xh yo zu",
    ("CYRILLIC",): "be bg kk mk mn ru sr uk",
    ("ARABIC",): "ar fa ur",
    ("DEVANAGARI",): "hi mr",
    ("BENGALI",): "bn",
    ("GREEK",): "el",
    ("GUJARATI",): "gu",
    ("HEBREW",): "he",
    ("ARMENIAN",): "hy",
    ("GEORGIAN",): "ka",
    ("GURMUKHI",): "pa",
    ("TAMIL",): "ta",
    ("TELUGU",): "te",
    ("THAI",): "th",
    ("HANGUL", "CJK"): "ko",
    ("HIRAGANA", "KATAKANA", "CJK", "IDEOGRAPHIC"): "ja",
    ("CJK", "IDEOGRAPHIC"): "zh",
}
_SCRIPTS = {code: frozenset(scripts) for scripts, codes in _WRITTEN_IN.items() for code in codes.split()}

LANGUAGES = tuple(sorted(_SCRIPTS))
"""ISO 639-1 codes of the languages that can be detected."""

_WITHOUT_SPACES = frozenset({"HIRAGANA", "KATAKANA", "CJK", "IDEOGRAPHIC", "THAI", "HANGUL"})
_LETTERS_OF_A_WORD = 2
"""Characters of a typical word in scripts without spaces, or of syllables."""

_NOT_LANGUAGE = re.compile(r"https?://\S+|\\[A-Za-z]+")
"""URLs and LaTeX commands."""
_WORD = re.compile(r"[^\W\d_]+(?:[\u0300-\u036f\u0900-\u0dff\u0e00-\u0eff]+[^\W\d_]*)*")


def language_flag(text: str, wanted: str) -> str | None:
    """ "other language", "no language", or None if an answer is in the `wanted` language (one of `LANGUAGES`).

    The same text gives the same result on every machine with the same version of lingua.
    """
    words = _WORD.findall(_NOT_LANGUAGE.sub(" ", unicodedata.normalize("NFKC", text)))
    by_script: dict[str, list[str]] = {}
    for word in words:
        for script, part in _split_by_script(word):
            by_script.setdefault(script, []).append(part)
    letters = sum(len(part) for parts in by_script.values() for part in parts)
    if letters < _FEW and not _WITHOUT_SPACES & set(by_script):
        return NO_LANGUAGE
    own = _SCRIPTS[wanted]
    inside = sum(_word_count(script, parts) for script, parts in by_script.items() if script in own)
    if 2 * inside < sum(_word_count(script, parts) for script, parts in by_script.items()):
        return OTHER_LANGUAGE
    in_own_scripts = " ".join(word for word in words if any(script in own for script, _ in _split_by_script(word)))
    return OTHER_LANGUAGE if _is_clearly_other(in_own_scripts, wanted) else None


def language_rules() -> list[object]:
    """The rules of languages for digests: this file and the detector's version."""
    return [language_flag, version("lingua-language-detector")]


def _split_by_script(word: str) -> list[tuple[str, str]]:
    """The parts of a word with the script of each."""
    runs: list[tuple[str, str]] = []
    for letter in word:
        script = _script(letter)
        if runs and script in (runs[-1][0], None):
            runs[-1] = runs[-1][0], runs[-1][1] + letter
        elif script is not None:
            runs.append((script, letter))
    return runs


@cache
def _script(letter: str) -> str | None:
    """Script of a letter, the first word of its Unicode name; None for marks that belong to the letter before."""
    if not letter.isalpha():
        return None
    return re.split("[ -]", unicodedata.name(letter, "UNKNOWN"))[0]


def _word_count(script: str, parts: list[str]) -> float:
    """Number of words; in scripts with an alphabet a single letter is a variable or an option, not a word."""
    if script in _WITHOUT_SPACES:
        return sum(map(len, parts)) / _LETTERS_OF_A_WORD
    return sum(len(part) > 1 for part in parts)


def _is_clearly_other(text: str, wanted: str) -> bool:
    if sum(map(str.isalpha, text)) < DETECTABLE:
        return False
    probable = {
        confidence.language.iso_code_639_1.name.lower(): confidence.value
        for confidence in _detector().compute_language_confidence_values(text)
    }
    return max(probable.values()) > CLEARLY * probable[wanted]


@cache
def _detector() -> LanguageDetector:
    """Detector of all languages by trigrams alone: 65 MB and half a second instead of 1 GB and 12 s."""
    from lingua import LanguageDetectorBuilder

    return LanguageDetectorBuilder.from_all_languages().with_low_accuracy_mode().build()

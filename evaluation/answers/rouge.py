"""ROUGE-L of Japanese answers, as the first evolved vision-language models were scored by (arXiv 2403.13187).

The F-measure over words that MeCab finds (fugashi, with the dictionary unidic-lite), after emoji are removed and the
text is normalised by neologdn. Published numbers are 100 times the mean over items. The packages are those of
`shoal[japanese]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

ROUGE_L_JA = "rouge_l_ja"

PACKAGES = ("emoji", "fugashi", "neologdn", "rouge_score", "unidic-lite")

_PICTOGRAPHS = ((0x1F300, 0x1F64F), (0x1F680, 0x1F6FF), (0x1F1E0, 0x1F1FF), (0x2702, 0x27B0))
"""Ranges of characters that are removed besides those that are emoji by themselves."""


def rouge_l_ja(answer: str, reference: str) -> float:
    """F-measure of the longest common subsequence of words, from 0 to 1."""
    return float(_scorer().score(reference, answer)["rougeL"].fmeasure)


def japanese_words(text: str) -> list[str]:
    """The words of a text by MeCab."""
    import neologdn

    plain = neologdn.normalize("".join(letter for letter in text if not _is_pictograph(letter)))
    found: str = _tagger().parse(" ".join(plain.split()))
    return found.split()


def missing_packages() -> tuple[str, ...]:
    """Those of `PACKAGES` that are not installed."""
    return tuple(name for name, found in rouge_packages().items() if found is None)


def rouge_packages() -> Mapping[str, str | None]:
    """The packages that decide this metric, with their versions (None: not installed)."""
    return {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _is_pictograph(letter: str) -> bool:
    import emoji

    return emoji.is_emoji(letter) or any(first <= ord(letter) <= last for first, last in _PICTOGRAPHS)


@cache
def _tagger() -> Any:
    from fugashi import Tagger

    return Tagger("-Owakati")


@cache
def _scorer() -> RougeScorer:
    from rouge_score.rouge_scorer import RougeScorer

    class Words:
        """The tokenizer of the scorer."""

        def tokenize(self, text: str) -> list[str]:
            return japanese_words(text)

    return RougeScorer(["rougeL"], tokenizer=Words())

"""ROUGE-L of Japanese answers; the formula over the words of fugashi's own tagger is the reference."""

from __future__ import annotations

import pytest

from evaluation.answers import rouge
from evaluation.answers.rouge import japanese_words, missing_packages, rouge_l_ja

needs_packages = pytest.mark.skipif(
    bool(missing_packages()), reason="the packages of shoal[japanese] are not installed"
)


def longest_common(first: list[str], second: list[str]) -> int:
    """Length of the longest common subsequence."""
    if not first or not second:
        return 0
    if first[-1] == second[-1]:
        return 1 + longest_common(first[:-1], second[:-1])
    return max(longest_common(first[:-1], second), longest_common(first, second[:-1]))


@needs_packages
@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("赤いバスが走っています。", "バスは赤いです。"),
        ("猫が二匹います", "猫が二匹います"),
        ("白い犬", "青い空と海"),
    ],
)
def test_the_score_is_the_f_measure_of_the_longest_common_words(answer: str, reference: str) -> None:
    from fugashi import Tagger

    words = [[word.surface for word in Tagger()(text)] for text in (answer, reference)]
    common = longest_common(*words)
    precision, recall = common / len(words[0]), common / len(words[1])
    expected = 2 * precision * recall / (precision + recall) if common else 0.0
    assert rouge_l_ja(answer, reference) == pytest.approx(expected)
    assert rouge_l_ja(answer, reference) < 1 or answer == reference


@needs_packages
def test_emoji_widths_and_spaces_make_no_difference() -> None:
    assert japanese_words("赤い バス😀🚌が ﾊｼﾙ~~") == japanese_words("赤いバスがハシル")
    assert rouge_l_ja("赤いバス🚌", "赤い  バス") == 1.0 and rouge_l_ja("😀", "赤いバス") == 0.0 == rouge_l_ja("", "赤")


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rouge, "PACKAGES", ("pytest", "no-such-package"))
    assert missing_packages() == ("no-such-package",)

"""Patterns of strangers are matched as `re` does it, and given up when they take too long."""

from __future__ import annotations

import re

import pytest

from merging.errors import MergingError
from merging.sources.patterns import PatternMatcher

NAMES = ("model.layers.0.self_attn.q_proj", "model.layers.11.mlp.down_proj", "lm_head", "")
PATTERNS = (
    r".*\.(q|v)_proj",
    r"(.*\.)?(layers\.\d+\.mlp.*)$",
    r"model\.layers\.(?P<layer>\d+)\.",
    "lm_head",
    r"[^.]+$",
)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("whole", [False, True])
def test_matches_are_those_of_re(pattern: str, whole: bool) -> None:
    matcher = PatternMatcher("a")
    for name in NAMES:
        expected = re.fullmatch(pattern, name) if whole else re.match(pattern, name)
        found = matcher.match(pattern, name, whole=whole)
        assert (found and (found.span(), found.groupdict())) == (expected and (expected.span(), expected.groupdict()))


def test_a_pattern_that_would_take_years_is_refused() -> None:
    pattern = "(?:(?:a|b|ab)+)+c"
    with pytest.raises(MergingError, match=r"^evil/adapter: pattern .* takes too long to match") as error:
        PatternMatcher("evil/adapter", 0.1).match(pattern, "ab" * 40 + "dc")
    assert repr(pattern) in str(error.value)


def test_all_matches_of_one_adapter_share_the_time() -> None:
    matcher = PatternMatcher("evil/adapter", 0.0)
    with pytest.raises(MergingError, match="takes too long"):
        matcher.match("a", "a")

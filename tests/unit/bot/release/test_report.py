"""The report of a cycle: golden texts of one that published and one that ended early, and hostile facts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.hub.candidate import Verdict
from bot.release.card.facts import Estimate, SearchFacts
from bot.release.report import CycleFacts, FrontFacts, ReleaseFacts, ScoreRow, write_report
from fixtures.written_texts import ATTACKS, POISON, check_golden, structure, with_texts


def estimate(mean: float, half: float = 0.04) -> Estimate:
    return Estimate(mean, round(mean - half, 4), round(mean + half, 4))


def published() -> CycleFacts:
    """A release on the Hub, one that waits for a person, and a front member that the gate refused."""
    return CycleFacts(
        watchlist="sums",
        cycle="sums-1",
        hub_url="http://127.0.0.1:8080/",
        started="2026-11-23T05:00:00+00:00",
        finished="2026-11-23T05:02:31+00:00",
        outcome="1 release is on the Hub, 1 waits for a person.",
        skills=("math", "cross"),
        verdicts=(
            Verdict("demo/tiny-math", "1" * 40, True, "taken"),
            Verdict("demo/tiny-language", "2" * 40, True, "taken"),
            Verdict("stranger/pickled", "3" * 40, False, "no safetensors: only pickle files"),
            Verdict("stranger/gated", None, False, "gated"),
        ),
        search=SearchFacts(240, 3, 237, 114_240, 10, 24, 7, 94.6, "240 candidates were scored", "2 CPU cores", False),
        hypervolumes=(0.41, 0.523, 0.6),
        baselines=(
            ScoreRow("demo/tiny-math", (estimate(1.0, 0.01), estimate(0.1))),
            ScoreRow("linear mean", (estimate(0.96), estimate(0.66))),
        ),
        front=(
            FrontFacts("ab" * 32, "ties", (estimate(0.97), estimate(0.72)), True, "better at cross"),
            FrontFacts("cd" * 32, "path of 9 layers", (estimate(0.5), estimate(0.6)), False, "not better than any"),
            FrontFacts("12" * 32, "linear", (), False, "could not be scored: the worker died"),
        ),
        releases=(
            ReleaseFacts("demo/sums-1-knee", "knee", "ab" * 32, "4" * 40, (estimate(0.96), estimate(0.71))),
            ReleaseFacts("demo/sums-1-math", "best-math", "ef" * 32, None, (estimate(1.0), estimate(0.5))),
        ),
    )


def ended_early() -> CycleFacts:
    """No second source was found, so nothing was searched."""
    return replace(
        published(),
        outcome="Only one source was left, and a merge needs two.",
        verdicts=published().verdicts[2:],
        search=None,
        hypervolumes=(),
        baselines=(),
        front=(),
        releases=(),
    )


def test_the_report_of_a_cycle_that_published_reads_as_agreed() -> None:
    check_golden("report.md", write_report(published()))


def test_the_report_of_a_cycle_that_ended_early_reads_as_agreed() -> None:
    check_golden("report_early.md", write_report(ended_early()))


def test_a_search_that_took_no_time_has_no_rate() -> None:
    search = SearchFacts(0, 0, 0, 0, 0, 24, 7, 0.0, "it was interrupted", "2 CPU cores", False)
    assert "| 0 | 0 | 0 | 0 (of 24 each) | 0 s |  | 7 |" in write_report(replace(published(), search=search))


@pytest.mark.parametrize("attack", [POISON, *ATTACKS])
def test_an_injection_in_every_text_changes_words_and_nothing_else(attack: str) -> None:
    report = write_report(with_texts(published(), attack))
    assert structure(report) == structure(write_report(with_texts(published(), "word")))

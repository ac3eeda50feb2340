"""The progress that a person sees while the bot works."""

from __future__ import annotations

import io
import itertools

import pytest
from rich.console import Console

from bot import progress
from bot.progress import Pace, TerminalNarrator, clock_time, printable


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_rest_is_estimated_and_counted_down_between_steps() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.seconds_left(10) is None
    for _ in range(4):
        clock.now += 50
        pace.step(1)
    assert pace.seconds_left(10) == 300
    clock.now += 20
    assert pace.seconds_left(10) == 280
    assert pace.seconds_left(4) == 0


def test_an_estimate_is_never_longer_than_what_is_allowed() -> None:
    clock = Clock()
    pace = Pace(clock, seconds_allowed=lambda: 120 - clock.now)
    for _ in range(2):
        clock.now += 10
        pace.step(1)
    assert pace.seconds_left(5) == 30
    assert pace.seconds_left(50) == 100
    clock.now = 200
    assert pace.seconds_left(50) == 0


def test_answers_from_the_ledger_are_soon_forgotten() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.step(100)
    for _ in range(40):
        clock.now += 60
        pace.step(1)
    assert pace.seconds_left(200) == pytest.approx(60 * 60)


def test_a_bar_fits_80_columns_and_shows_count_estimate_and_words(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(step=3)
    monkeypatch.setattr(progress, "Pace", lambda **options: Pace(lambda: float(next(ticks)), **options))
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None, legacy_windows=False)
    with TerminalNarrator(console).bar("breeding", 200) as advance:
        advance(50, "generation 2, 6 on the front, hypervolume 0.4328 [red]\x1b[2J")
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    (row,) = {row for row in shown.replace("\r", "\n").split("\n") if "50/200" in row}
    assert "breeding" in row and " left" in row and "generation 2, 6 on the fr" in row
    assert "[2J" not in row


def test_long_lines_are_folded_between_words_on_a_terminal_and_whole_elsewhere() -> None:
    text = "refused  reef/minnow: not of the family of tidepool/minnow-base: its tokenizer is not that of the base"
    for terminal in (True, False):
        file = io.StringIO()
        TerminalNarrator(Console(file=file, force_terminal=terminal, width=60, color_system=None)).say(text)
        lines = file.getvalue().splitlines()
        assert " ".join(line.strip() for line in lines) == text
        assert len(lines) == (3 if terminal else 1) and all(len(line) <= 60 for line in lines) == terminal


def test_without_a_terminal_long_work_prints_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", -1.0)
    file = io.StringIO()
    with TerminalNarrator(Console(file=file)).bar("fetching", 4_000_000, in_bytes=True) as advance:
        advance(1_000_000, "reef/minnow")
    assert file.getvalue().startswith("fetching: 1.0 MB of 4.0 MB, ")
    assert file.getvalue().endswith(" left, reef/minnow\n")


def test_words_from_the_hub_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b]0;title\x07 b\r\u202ec\nd é 日本") == "a�]0;title� b��c\nd é 日本"


@pytest.mark.parametrize("seconds, text", [(7, "0:07"), (59.6, "1:00"), (750, "12:30"), (11_100, "3:05:00")])
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert clock_time(seconds) == text

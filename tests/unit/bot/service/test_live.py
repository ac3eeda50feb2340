"""The progress file of a running cycle, as another process reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.home import Home
from bot.lock import hold_home
from bot.service.live import LINES, LiveNarrator, live_narrator, read_progress
from fixtures.cycles import Listener


def test_steps_and_lines_can_be_read_while_the_home_is_held(tmp_path: Path) -> None:
    home = Home(tmp_path)
    now = [0.0]
    with hold_home(home):
        narrator = LiveNarrator(Listener(), home, "fish", lambda: now[0])
        narrator.say("taken\x1b[31m a/b")
        with narrator.bar("searching", 10) as advance:
            advance(2, "generation 1")
            known = read_progress(home)
            assert known is not None
            assert (known.step, known.done, known.total) == ("searching", 0, 10)  # at most one write a second
            now[0] = 1.5
            advance(1, "")
            known = read_progress(home)
            assert known is not None
            assert (known.watchlist, known.done, known.words) == ("fish", 3, "generation 1")
            assert [line.text for line in known.lines] == ["taken�[31m a/b"]
        known = read_progress(home)
        assert known is not None and known.step == ""
    # The process is gone without having removed its file.
    assert home.progress.exists()
    assert read_progress(home) is None
    with hold_home(home):  # another command
        assert read_progress(home) is None


def test_only_the_newest_lines_are_kept_and_the_file_goes_at_the_end(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with hold_home(home):
        with pytest.raises(ValueError), live_narrator(Listener(), home, "fish") as narrator:
            for number in range(LINES + 5):
                narrator.say(f"line {number}")
            known = read_progress(home)
            assert known is not None
            assert [line.text for line in known.lines] == [f"line {number}" for number in range(5, LINES + 5)]
            raise ValueError
        assert read_progress(home) is None
    assert not home.progress.exists()


@pytest.mark.parametrize("content", ["", "null", json.dumps({"step": "x"}), "\xff"])
def test_a_file_of_another_version_is_as_none(tmp_path: Path, content: str) -> None:
    home = Home(tmp_path)
    with hold_home(home):
        home.progress.write_bytes(content.encode("latin-1"))
        assert read_progress(home) is None

"""`shoal status` and `shoal show` on a ledger that is written here."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.home import Home
from bot.hub.discovery.candidate import Verdict
from bot.ledger.ledger import EvaluationEntry, Ledger, ReleaseEntry, State
from bot.search.results import GateResult, MeasuredRow
from bot.watchlist.watchlist import Watchlist
from evaluation.statistics.intervals import Interval
from fixtures.cycles import small_watchlist
from fixtures.past_cycles import GAP, write_past_cycles
from fixtures.shoal_here import Run

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
LONG_REPO = "an-organisation-with-a-long-name/a-model-with-a-long-name-7b-instruct-v0.1"
REASON = "its weights are pickled and there are no safetensors of them, so it is not read at all"


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """Three cycles: `small-1` published, `small-2` failed at its listing, `other-1` with nothing."""
    with tempfile.TemporaryDirectory() as folder:  # not under pytest's own, which other users cannot enter
        Path(folder).chmod(0o755)
        home = Home(Path(folder))
        ledger = Ledger(home.ledger)
        first = ledger.begin("small", "d1", NOON).id
        ledger.keep(first, "watchlist", small_watchlist(), Watchlist)
        ledger.record_pool(first, [Verdict("a/b", "f" * 40, True, "fine"), Verdict(LONG_REPO, None, False, REASON)], [])
        gate = (GateResult("r" * 64, (0.5, 0.6, 0.7), True, "beats all at cross", 0.01, 0.05, ()),)
        ledger.keep(first, "gate", gate, tuple[GateResult, ...])
        measured = (MeasuredRow("balanced", "release", (Interval(0.5, 0.4, 0.6, 100),) * 3),)
        ledger.keep(first, "measured", measured, tuple[MeasuredRow, ...])
        ledger.record_evaluation("{}", EvaluationEntry("r" * 64, "e" * 64, 1.0, None), [])
        ledger.record_release(ReleaseEntry(first, "balanced", "r" * 64, "reef/small-balanced", {}, "c" * 40), NOON)
        ledger.finish(first, State.PUBLISHED, "1 release published: reef/small-balanced", NOON)
        other = ledger.begin("other", "d2", NOON + timedelta(hours=1)).id
        ledger.finish(other, State.NOTHING, "no merge beat its sources", NOON + timedelta(hours=2))
        second = ledger.begin("small", "d1", NOON + timedelta(hours=3)).id
        ledger.finish(second, State.FAILED, "the Hub cannot be reached", NOON + timedelta(hours=4))
        ledger.close()
        yield home


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody may write to the folder or its files; root, who may, becomes another user meanwhile."""
    files = [*folder.iterdir()]
    modes = {path: path.stat().st_mode for path in (folder, *files)}
    for path in modes:
        path.chmod(0o555 if path == folder else 0o444)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)


def headings(page: str) -> list[str]:
    return [line for line in page.splitlines() if line and not line.startswith(" ")]


def test_show_without_an_id_shows_the_newest_cycle(shoal: Run, home: Home) -> None:
    status, out, _ = shoal("show", "--home", home.folder)
    assert status == 0 and headings(out) == ["small-2: failed"]
    assert headings(shoal("show", "--watchlist", "other", "--home", home.folder)[1]) == [
        "other-1: nothing worth publishing"
    ]
    fault = shoal("show", "--watchlist", "fish", "--home", home.folder)
    assert fault[0] == 1 and "--watchlist: got 'fish': has no cycle" in fault[2] and "other, small" in fault[2]


def test_a_cycle_that_failed_before_it_found_anything_says_why_and_not_that_nothing_was_found(
    shoal: Run, home: Home
) -> None:
    out = shoal("show", "small-2", "--home", home.folder)[1]
    assert "the Hub cannot be reached" in out and "No model" not in out


def test_results_come_before_refusals(shoal: Run, home: Home) -> None:
    out = shoal("show", "small-1", "--home", home.folder)[1]
    assert headings(out) == [
        "small-1: published",
        "Releases (1)",
        "Scores on the report split, with 95 % intervals",
        "Passed the gate (1), scores on the validation split",
        "Accepted (1)",
        "Refused (1)",
    ]


def test_a_search_says_how_its_front_was_chosen_and_how_much_of_it_was_luck(shoal: Run, tmp_path: Path) -> None:
    home = write_past_cycles(tmp_path)
    out = shoal("show", "small-1", "--home", home.folder)[1]
    words = " ".join(out.split())
    assert "hypervolume 0.6000" in words and f"budget {GAP.describe()}" in words
    section = out.partition("by the model of the scores\n")[2].partition("\n\n")[0]
    rows = [line.split() for line in section.splitlines()]
    assert ["cccccccccc", "0.900,", "expected", "0.880", "0.200,", "expected", "0.310", "put", "in"] in rows
    assert ["9999999999", "0.300,", "expected", "0.250", "0.500,", "expected", "0.450", "left", "out"] in rows
    assert "1 of 3 members are put in by it, and 1 with the luckiest scores are left out" in " ".join(section.split())
    shown = json.loads(shoal("show", "small-1", "--json", "--home", home.folder)[1])
    assert shown["shrinkage"]["put_in"][0]["expected"] == [0.88, 0.31]
    assert shown["generalisation"]["low"] == GAP.low


def test_show_can_be_limited_to_parts(shoal: Run, home: Home) -> None:
    out = shoal("show", "small-1", "--only", "gate", "--only", "releases", "--home", home.folder)[1]
    assert headings(out)[1:] == ["Releases (1)", "Passed the gate (1), scores on the validation split"]


@pytest.mark.parametrize("width", [60, 100, 200])
def test_no_table_breaks_inside_a_word(shoal: Run, home: Home, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    out = re.sub("\x1b\\[[0-9;]*m", "", shoal("show", "small-1", "--only", "candidates", "--home", home.folder)[1])
    words = set(out.split())
    assert set(REASON.split()) <= words
    assert LONG_REPO in words or width == 60  # which has no room for the name itself
    assert all(len(line) <= width for line in out.splitlines())


def test_status_can_be_limited_to_a_watchlist_a_state_and_a_number(shoal: Run, home: Home) -> None:
    def ids(*options: str) -> list[str]:
        printed = shoal("status", *options, "--json", "--home", home.folder)[1]
        return [cycle["id"] for cycle in json.loads(printed)["cycles"]]

    assert ids() == ["small-2", "other-1", "small-1"]
    assert ids("--watchlist", "small") == ["small-2", "small-1"]
    assert ids("--state", "published") == ["small-1"]
    assert ids("-n", "1") == ["small-2"]
    fault = shoal("status", "--state", "done", "--home", home.folder)
    assert fault[0] == 1 and "--state: got 'done': is not a state; choose from running, failed" in fault[2]


@pytest.mark.parametrize("log", [False, True])
def test_a_home_that_cannot_be_written_is_read(shoal: Run, home: Home, log: bool) -> None:
    expected = shoal("status", "--home", home.folder), shoal("show", "small-1", "--home", home.folder)
    writer = Ledger(home.ledger) if log else None  # keeps the log and its index, as a killed process leaves them
    if writer is not None:
        assert writer.cycles()
        index = home.ledger.with_name("ledger.sqlite-shm")
        assert index.exists()
    before = sorted(home.folder.iterdir())
    with read_only(home.folder):
        assert (shoal("status", "--home", home.folder), shoal("show", "small-1", "--home", home.folder)) == expected
    assert sorted(home.folder.iterdir()) == before
    if writer is not None:
        writer.close()

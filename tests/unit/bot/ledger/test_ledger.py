"""The ledger keeps its content across interruptions and processes."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.errors import ShoalError
from bot.hub.discovery.candidate import Verdict
from bot.ledger.ledger import EvaluationEntry, ItemValue, Ledger, ReleaseEntry, SourceEntry, State

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def test_an_interrupted_cycle_is_resumed(ledger: Ledger) -> None:
    first = ledger.begin("tiny", "words", NOON)
    again = Ledger(ledger.path).begin("tiny", "words", NOON)
    assert again == first and first.id == "tiny-1" and first.started == NOON


def test_a_changed_watchlist_abandons_the_interrupted_cycle(ledger: Ledger) -> None:
    first = ledger.begin("tiny", "words", NOON)
    second = ledger.begin("tiny", "other words", NOON)
    assert second.id == "tiny-2"
    assert ledger.cycle(first.id).state is State.ABANDONED


def test_a_failed_cycle_is_resumed_and_forgets_its_reason(ledger: Ledger) -> None:
    first = ledger.begin("tiny", "words", NOON)
    ledger.record_pool(first.id, [Verdict("a/b", None, False, "gone")], ())
    ledger.finish(first.id, State.FAILED, "the Hub is down", NOON)
    assert ledger.cycle(first.id).note == "the Hub is down"
    assert ledger.begin("tiny", "words", NOON) == first
    ledger.finish(first.id, State.FAILED, "the disk is full", NOON)
    assert ledger.begin("tiny", "other words", NOON).id == "tiny-2"
    assert ledger.cycle(first.id).state is State.ABANDONED


def test_a_cycle_that_failed_before_it_found_anything_goes_on_under_the_mended_watchlist(ledger: Ledger) -> None:
    first = ledger.begin("tiny", "a wrong task", NOON)
    ledger.finish(first.id, State.FAILED, "no such task", NOON)
    assert ledger.begin("tiny", "the right task", NOON) == replace(first, digest="the right task")
    assert len(ledger.cycles()) == 1


def test_a_finished_cycle_is_followed_by_a_new_one_and_each_watchlist_counts_its_own(ledger: Ledger) -> None:
    first = ledger.begin("tiny", "words", NOON)
    ledger.finish(first.id, State.NOTHING, "nobody passed", NOON)
    assert ledger.begin("tiny", "words", NOON).id == "tiny-2"
    assert ledger.begin("large", "words", NOON).id == "large-1"
    assert {cycle.id for cycle in ledger.cycles("tiny")} == {"tiny-1", "tiny-2"}


def test_stage_results_come_back_as_equal_values(ledger: Ledger) -> None:
    cycle = ledger.begin("tiny", "words", NOON).id
    verdicts = (Verdict("a/b", None, False, "gone"), Verdict("c/d", "f" * 40, True, "fine"))
    assert ledger.kept(cycle, "verdicts", tuple[Verdict, ...]) is None
    ledger.keep(cycle, "verdicts", verdicts, tuple[Verdict, ...])
    assert ledger.kept(cycle, "verdicts", tuple[Verdict, ...]) == verdicts


def test_an_evaluation_is_recorded_whole_and_may_be_recorded_again(ledger: Ledger) -> None:
    items = [ItemValue("task", f"item{index}", index / 7, "empty" if index % 2 else None) for index in range(3000)]
    entry = EvaluationEntry("recipe", "eval set", 1.5, None)
    for _ in range(2):
        ledger.record_evaluation('{"r": 1}', entry, items)
    assert ledger.evaluation("recipe", "eval set") == entry
    assert ledger.item_values("recipe", ["task", "other"]) == {(item.task, item.item): item for item in items}
    assert ledger.recipe("recipe") == '{"r": 1}'
    assert ledger.count_evaluations() == 1


def _die_while_recording(path: Path) -> None:
    ledger = Ledger(path)

    def items():  # type: ignore[no-untyped-def]
        yield ItemValue("task", "item", 1.0, None)
        os._exit(9)

    class Dying(list):  # the rows are read inside the transaction, after the recipe has been written
        def __iter__(self):  # type: ignore[no-untyped-def]
            return items()

    ledger.record_evaluation("{}", EvaluationEntry("recipe", "eval set", 1.0, None), Dying([1]))


def test_a_process_killed_while_recording_leaves_nothing_of_it(ledger: Ledger) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_die_while_recording, args=(ledger.path,))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert ledger.evaluation("recipe", "eval set") is None
    with pytest.raises(ShoalError, match="recipe recipe is not in"):
        ledger.recipe("recipe")


def test_the_newest_front_is_given_best_first(ledger: Ledger) -> None:
    cycle = ledger.begin("tiny", "words", NOON).id
    for digest in ("a", "b", "c"):
        ledger.record_evaluation("{}", EvaluationEntry(digest, "eval set", 0.0, None), [])
    ledger.record_front(cycle, 0, [("a", (0.5, 0.5))])
    ledger.record_front(cycle, 1, [("b", (0.2, 0.9)), ("c", (0.8, 0.4))])
    assert ledger.front(cycle) == (("c", (0.8, 0.4)), ("b", (0.2, 0.9)))
    ledger.record_front(cycle, 1, [("b", (0.3, 0.9))])  # as other scores give it
    assert ledger.front(cycle) == (("b", (0.3, 0.9)),)


def test_sources_and_releases_come_back_by_cycle(ledger: Ledger) -> None:
    cycle = ledger.begin("tiny", "words", NOON).id
    ledger.record_evaluation("{}", EvaluationEntry("a", "eval set", 0.0, None), [])
    ledger.record_pool(cycle, [Verdict("x/y", "1", True, "fine")], [SourceEntry("x/y", "1", "source", "mit")])
    release = ReleaseEntry(cycle, "balanced", "a", "me/merge", {"model.safetensors": "0" * 64})
    ledger.record_release(release, None)
    assert ledger.releases(cycle) == (release,)
    assert ledger.sources(cycle) == (SourceEntry("x/y", "1", "source", "mit"),)
    assert ledger.verdicts(cycle) == (Verdict("x/y", "1", True, "fine"),)


def test_an_unknown_cycle_is_answered_with_those_that_exist(ledger: Ledger) -> None:
    ledger.begin("tiny", "words", NOON)
    with pytest.raises(ShoalError, match=r"cycle 'tiny-9' is not in .*; the newest are: tiny-1"):
        ledger.cycle("tiny-9")


def test_a_file_without_a_ledger_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_text("a person's notes, not a database, and long enough to be read as a header of one" * 20)
    before = path.read_bytes()
    with pytest.raises(ShoalError, match="not a ledger"):
        Ledger(path)
    assert path.read_bytes() == before


def test_cycles_come_in_the_order_in_which_they_began_even_if_the_clock_was_set_back(ledger: Ledger) -> None:
    for year in (2037, 2026, 2027):
        cycle = ledger.begin(f"of {year}", "d", datetime(year, 1, 1, tzinfo=UTC))
        ledger.finish(cycle.id, State.NOTHING, "", datetime(year, 1, 2, tzinfo=UTC))
    assert [cycle.watchlist for cycle in ledger.cycles()] == ["of 2027", "of 2026", "of 2037"]


def test_a_damaged_page_of_the_file_is_one_line(ledger: Ledger) -> None:
    ledger.begin("small", "d", datetime(2026, 1, 1, tzinfo=UTC))
    ledger.close()
    with closing(sqlite3.connect(ledger.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'cycles'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    with ledger.path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    damaged = Ledger(ledger.path)
    with pytest.raises(ShoalError, match=r"the ledger is damaged \(.*malformed.*\); put a backup in its place"):
        damaged.cycles()


def test_a_full_disk_is_reported_in_one_line_and_nothing_is_half_written(ledger: Ledger) -> None:
    from sqlalchemy import event

    @event.listens_for(ledger._engine, "begin")
    def no_room(connection):  # type: ignore[no-untyped-def]
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")

    items = [ItemValue("task", f"item{index}", 1.0, None) for index in range(5000)]
    with pytest.raises(ShoalError, match=r"cannot be used \(database or disk is full\); nothing was lost"):
        ledger.record_evaluation("{}", EvaluationEntry("recipe", "eval set", 1.0, None), items)
    event.remove(ledger._engine, "begin", no_room)
    assert ledger.evaluation("recipe", "eval set") is None
    assert ledger.item_values("recipe", ["task"]) == {}


def test_the_ledger_is_read_while_another_connection_writes(ledger: Ledger) -> None:
    writer = sqlite3.connect(ledger.path, isolation_level=None)
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    writer.execute("BEGIN IMMEDIATE")
    assert ledger.cycles() == ()
    writer.execute("ROLLBACK")


def test_every_connection_waits_until_a_commit_is_on_the_disk(ledger: Ledger) -> None:
    """2 is FULL: with 1 (NORMAL) a power cut loses the commits since the last checkpoint."""
    for _ in range(2):
        with ledger._engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        ledger.close()  # the next connection is a new one


def test_a_new_ledger_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    """As `shoal status` does while the first run begins."""
    for attempt in range(10):
        path, start = tmp_path / f"{attempt}.sqlite", threading.Barrier(6)

        def open_together(path: Path = path, start: threading.Barrier = start) -> tuple[object, ...]:
            start.wait()
            return Ledger(path).cycles()

        with ThreadPoolExecutor(6) as pool:
            opened = [pool.submit(open_together) for _ in range(6)]
            assert [one.result() for one in opened] == [()] * 6

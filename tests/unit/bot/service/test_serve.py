"""The service with a clock that is set by hand: retries, edits, and what the log says. APScheduler is never started."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any, cast

import pytest
from apscheduler.schedulers.background import BackgroundScheduler

from bot.errors import ShoalError
from bot.home import Home
from bot.hub.download import SPARE_BYTES
from bot.lock import hold_home, hold_schedule
from bot.progress import Narrator
from bot.service.facts.service_file import ServiceFile, read_service
from bot.service.log import JsonFormatter, ServiceFormatter, log_of
from bot.service.retries import MOST_RETRIES, PlannedRetry, Retries, retry_pause
from bot.service.scheduler import CronJobs, DueWatchlists
from bot.service.serve import RereadRequest, Service
from bot.service.watchlist_files import find_edits, read_scheduled
from bot.service.webhooks.wakes import Wakes
from bot.watchlist.watchlist import Watchlist
from fixtures.shoal_process import write_watchlist

SCHEDULE = {"cron": "0 0 1 1 *"}
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Rig:
    """A service over some watchlists: its clock, what it ran, what it logged, and whether its cycles fail."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.paths = [write_watchlist(folder / f"{name}.yml", name=name, schedule=SCHEDULE) for name in names]
        self.now, self.seconds, self.fault = NOON, 0.0, cast("Exception | None", None)
        self.ran: list[Watchlist] = []
        self.due = DueWatchlists()
        files = read_scheduled(self.paths)
        self.scheduler = BackgroundScheduler()
        self.scheduler.start(paused=True)
        jobs = CronJobs(self.scheduler)
        jobs.update({file.path: file.watchlist for file in files})
        retries = Retries(lambda: self.seconds, lambda: self.now)
        self.home = Home(folder / "home")
        self.wakes = Wakes(self.home, [file.watchlist for file in files], lambda: self.now)
        file = ServiceFile(self.home)
        self.service = Service(files, self.home, self._run, self.due, jobs, retries, self.wakes, file)

    def _run(self, watchlist: Watchlist, narrator: Narrator) -> None:
        self.ran.append(watchlist)
        narrator.say("a cycle's line")
        if self.fault is not None:
            raise self.fault

    def tick(self, minutes: float = 0) -> int:
        """Let time pass, and run what is due; returns the number of cycles that ran."""
        self.now += timedelta(minutes=minutes)
        self.seconds = round(self.seconds + 60 * minutes, 3)
        before = len(self.ran)
        self.service.follow_edits(every=False)
        self.service.run_next(0)
        return len(self.ran) - before

    def edit(self, index: int = 0, **changed: Any) -> None:
        """Write other values into a file."""
        path = self.paths[index]
        path.write_text(json.dumps(json.loads(path.read_text()) | changed, indent=1))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path, "one", "two")
    yield rig
    rig.scheduler.shutdown(wait=False)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The service's log, formatted as on standard error."""
    caplog.set_level(logging.INFO, "shoal.serve")
    caplog.handler.setFormatter(ServiceFormatter())
    return caplog


def lines(log: pytest.LogCaptureFixture) -> list[str]:
    """The log's lines without their times; the log is empty then."""
    found = [line.split(" ", 1)[1] for line in log.text.splitlines()]
    log.clear()
    return found


# -- retries ------------------------------------------------------------------------------------------------------


def test_the_pauses_double_up_to_an_hour_and_end() -> None:
    minutes = [None if (pause := retry_pause(count)) is None else pause / timedelta(minutes=1) for count in range(1, 8)]
    assert minutes == [5, 10, 20, 40, 60, 60, None]


def test_a_failed_cycle_is_tried_again_later_and_later_and_then_at_its_cron_time(
    rig: Rig, log: pytest.LogCaptureFixture
) -> None:
    rig.fault = ShoalError("the Hub is down")
    rig.due.add(str(rig.paths[0]))
    assert rig.tick() == 1
    said = lines(log)
    assert said == [
        "INFO one: a cycle's line",
        "ERROR one: failed: the Hub is down",
        "WARNING one: will be tried again at 2026-03-01 12:05 UTC",
    ]
    for minutes in (5, 10, 20, 40, 60, 60):
        assert rig.tick(minutes - 0.1) == 0
        assert rig.tick(0.1) == 1
    assert "ERROR one: failed too often in a row, so it waits for its next cron time; next at 20" in lines(log)[-1]
    assert rig.tick(10**5) == 0
    # Its cron time comes: the count starts anew.
    rig.due.add(str(rig.paths[0]))
    assert rig.tick() == 1 and rig.tick(4.9) == 0 and rig.tick(0.1) == 1
    assert len(rig.ran) == 1 + MOST_RETRIES + 2


def test_a_success_ends_the_retries_and_says_when_it_is_next_due(rig: Rig, log: pytest.LogCaptureFixture) -> None:
    rig.fault = OSError(28, "No space left", "/x")
    rig.due.add(str(rig.paths[1]))
    assert rig.tick() == 1
    rig.fault = None
    assert rig.tick(5) == 1 and rig.tick(10**4) == 0
    assert lines(log)[-1].startswith("INFO two: next at 20")
    # A later failure waits five minutes again, not ten.
    rig.fault = KeyError("oops")
    rig.due.add(str(rig.paths[1]))
    assert rig.tick() == 1 and rig.tick(5) == 1


def test_a_cron_time_before_the_retry_takes_its_place(rig: Rig) -> None:
    rig.fault = ShoalError("the Hub is down")
    rig.due.add(str(rig.paths[0]))
    assert rig.tick() == 1
    rig.fault = None
    rig.due.add(str(rig.paths[0]))
    assert rig.tick(1) == 1 and rig.tick(10) == 0


def test_what_waits_for_another_process_is_still_due_and_can_be_withdrawn(
    rig: Rig, log: pytest.LogCaptureFixture
) -> None:
    path = str(rig.paths[0])
    rig.due.add(path, asked=True)
    tick = Thread(target=rig.tick)
    with hold_home(rig.home):
        tick.start()
        while "due; waiting for another shoal process to end" not in log.text and tick.is_alive():
            time.sleep(0.01)
        assert rig.due.waiting() == (path,)
        assert rig.due.withdraw(path)
    tick.join(20)
    assert not tick.is_alive() and rig.ran == [] and rig.due.waiting() == ()


def test_a_clock_that_is_set_makes_no_pause_longer_or_shorter(rig: Rig) -> None:
    rig.fault = ShoalError("the Hub is down")
    for path, years in zip(rig.paths, (-20, 20), strict=True):
        rig.due.add(str(path))
        assert rig.tick() == 1
        rig.now += timedelta(days=365 * years)
        assert rig.tick(4.9) == 0 and rig.tick(0.1) == 1
        rig.service._retries.succeed(path)
        rig.service._retries.begin(path)


# -- what holds it up ---------------------------------------------------------------------------------------------


def test_what_is_due_waits_for_room_on_the_disk_and_then_goes_on_by_itself(
    rig: Rig, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 1000
    monkeypatch.setattr("bot.service.facts.disk.free_bytes", lambda _: free)
    assert rig.tick() == 0 and lines(log) == []  # nothing is due
    rig.due.add(str(rig.paths[1]))
    assert [rig.tick(1) for _ in range(500)] == [0] * 500
    (line,) = lines(log)
    assert line.startswith(f"ERROR two: due, and waits for room: {rig.home.folder}: 1,000 bytes free, where a cycle")
    with hold_schedule(rig.home):
        shown = read_service(rig.home)
        assert shown is not None and shown.due == ("two",) and "1,000 bytes free" in shown.held
        free = SPARE_BYTES
        assert rig.tick() == 1 and rig.tick() == 0
        assert (shown := read_service(rig.home)) is not None and (shown.due, shown.held) == ((), "")
    assert lines(log)[0] == "INFO two: goes on: there is room on the disk again"


def test_an_edit_that_the_schedule_cannot_store_is_stored_later(
    rig: Rig, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise ShoalError("schedule.sqlite: the schedule cannot be used (database or disk is full)")

    rig.edit(schedule={"cron": "30 6 2 2 *"})
    with monkeypatch.context() as broken:
        broken.setattr(CronJobs, "_update_one", full)
        rig.tick()
        rig.tick()
    first, _ = lines(log)
    assert first.startswith(
        "ERROR schedule: the schedule stays as it was: schedule.sqlite: the schedule cannot be used"
    )
    rig.tick()
    assert "-02-02 06:30 UTC" in rig.service._cron_jobs.next_run("one")


def test_others_are_told_what_the_service_has_in_hand_as_long_as_it_runs(rig: Rig) -> None:
    rig.fault = ShoalError("the Hub is down")
    rig.due.add(str(rig.paths[0]))
    rig.due.add(str(rig.paths[1]))
    with hold_schedule(rig.home):
        rig.tick()
        rig.service._show()
        shown = read_service(rig.home)
    assert shown is not None and read_service(rig.home) is None  # the schedule's lock is free: it was killed
    assert shown.files == {"one": str(rig.paths[0]), "two": str(rig.paths[1])} and shown.due == ("two",)
    assert shown.retries == {"one": PlannedRetry(NOON + timedelta(minutes=5), "the Hub is down")}


# -- edits --------------------------------------------------------------------------------------------------------


def test_an_edited_watchlist_is_read_again_and_its_job_follows(rig: Rig, log: pytest.LogCaptureFixture) -> None:
    rig.tick()
    assert lines(log) == []
    rig.edit(max_sources=3, schedule={"cron": "30 6 2 2 *"})
    rig.tick()
    (line,) = lines(log)
    assert line.startswith(f"INFO one: read again from {rig.paths[0]}; next at 20") and "-02-02 06:30 UTC" in line
    rig.due.add(str(rig.paths[0]))
    rig.tick()
    assert rig.ran[0].max_sources == 3


def test_a_broken_edit_keeps_the_last_good_watchlist_and_says_so_once(rig: Rig, log: pytest.LogCaptureFixture) -> None:
    good = rig.paths[0].read_text()
    rig.edit(max_sources="three")
    rig.tick()
    fault, kept = lines(log)
    number = good.splitlines().index(' "max_sources": 4,') + 1
    place = f"{rig.paths[0]}:{number}: max_sources: got 'three'"
    assert fault.startswith(f"ERROR one: {place}: is not a whole number; ")
    assert kept == "ERROR one: the watchlist stays as it was before this edit"
    rig.tick()
    assert lines(log) == []
    rig.due.add(str(rig.paths[0]))
    rig.tick()
    assert rig.ran[0].max_sources == 4
    lines(log)
    rig.paths[0].unlink()
    rig.tick()
    assert "cannot be read (No such file or directory)" in lines(log)[0]
    rig.paths[0].write_text(good)
    rig.tick()
    assert lines(log)[0].startswith("INFO one: read again")


@pytest.mark.parametrize(
    ("changed", "fault"), [({"name": "two"}, "has the same name"), ({"schedule": None}, "got none")]
)
def test_an_edit_that_cannot_be_scheduled_is_broken_too(rig: Rig, changed: dict[str, Any], fault: str) -> None:
    rig.edit(**changed)
    (edit,) = find_edits(read_scheduled(rig.paths[1:]) + tuple(rig.service._files.values())[:1])
    assert edit.fault is not None and fault in edit.fault and edit.file.watchlist.name == "one"


def test_two_files_that_take_one_name_at_once_do_not_both_get_it(rig: Rig) -> None:
    files = read_scheduled(rig.paths)
    rig.edit(0, name="three")
    rig.edit(1, name="three")
    first, second = find_edits(files)
    assert first.fault is None and second.fault is not None
    assert [edit.file.watchlist.name for edit in (first, second)] == ["three", "two"]


def test_a_failed_watchlist_that_is_edited_is_tried_at_once(rig: Rig) -> None:
    rig.fault = ShoalError("no such task")
    rig.due.add(str(rig.paths[0]))
    assert rig.tick() == 1 and rig.tick(1) == 0
    rig.fault = None
    rig.edit(max_sources=3)
    assert rig.tick() == 1


def test_a_request_rereads_every_watchlist_once(rig: Rig, log: pytest.LogCaptureFixture) -> None:
    request = RereadRequest()
    assert not request.take()
    request.make(1, None)
    rig.service.follow_edits(every=request.take())
    assert [line.split(":")[0] for line in lines(log)] == ["INFO one", "INFO two"]
    assert not request.take()


def test_text_from_the_hub_cannot_forge_a_line_of_the_log(log: pytest.LogCaptureFixture) -> None:
    log_of("one").info("a model\nERROR two: failed\x1b[2J")
    assert lines(log) == ["INFO one: a model", "INFO one: ERROR two: failed�[2J"]


def test_a_json_log_has_one_object_a_line_with_the_traceback_inside(log: pytest.LogCaptureFixture) -> None:
    log.handler.setFormatter(JsonFormatter())
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log_of("one").error("failed: ü\n", exc_info=True)
    (line,) = log.text.splitlines()
    record = json.loads(line)
    moment = datetime.fromisoformat(record.pop("time"))
    assert moment.tzinfo == UTC
    assert record.pop("exception").endswith("ValueError: two\nlines")
    assert record == {"level": "ERROR", "watchlist": "one", "message": "failed: ü\n"}

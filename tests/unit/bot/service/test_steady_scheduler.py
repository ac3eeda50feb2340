"""APScheduler's thread with a job store that cannot be written for a while, and with a clock that is set."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from apscheduler.events import EVENT_JOB_EXECUTED
from sqlalchemy import event

from bot.errors import ShoalError
from bot.service import steady_scheduler
from bot.service.scheduler import watchlist_path
from bot.service.steady_scheduler import SteadyJobStore, SteadyScheduler, follow_clock
from bot.watchlist.schedule.cron import standard_trigger


def wait_for(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_run_that_cannot_be_noted_comes_once_when_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady_scheduler, "RETRY_SECONDS", 0.02)
    store, faults, ran, broken = SteadyJobStore(tmp_path / "schedule.sqlite"), list[str | None](), list[str](), [True]

    @event.listens_for(store.engine, "begin")
    def refuse_writes(connection: Any) -> None:
        connection.exec_driver_sql(f"PRAGMA query_only = {int(broken[0])}")

    broken[0] = False
    scheduler = SteadyScheduler(store, faults.append)
    scheduler.add_listener(lambda done: ran.append(done.retval), EVENT_JOB_EXECUTED)
    scheduler.start(paused=True)
    trigger, yesterday = standard_trigger("0 0 * * *", "UTC"), datetime.now(UTC) - timedelta(days=1)
    scheduler.add_job(watchlist_path, trigger, args=["one"], id="one", next_run_time=yesterday, misfire_grace_time=None)
    broken[0] = True
    scheduler.resume()
    wait_for(lambda: len(faults) > 3)
    assert ran == [] and scheduler._thread.is_alive()
    wanted = "schedule.sqlite: the schedule cannot be used (attempt to write a readonly database); nothing was lost"
    assert all(wanted in str(fault) for fault in faults)
    broken[0] = False
    scheduler.wakeup()
    wait_for(lambda: ran and faults[-1] is None)
    scheduler.shutdown()
    assert ran == ["one"]


def test_a_schedule_that_is_damaged_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "schedule.sqlite").write_bytes(b"not a database" * 100)
    scheduler = SteadyScheduler(SteadyJobStore(tmp_path / "schedule.sqlite"), lambda _: None)
    with pytest.raises(ShoalError, match=r"schedule\.sqlite: the schedule is damaged \(file is not a database\)"):
        scheduler.start(paused=True)


@pytest.mark.parametrize(
    ("cron", "now", "planned", "follows"),
    [
        # Set back by years, by a day, by an hour and a half: what it planned while it was ahead is planned anew.
        ("0 6 * * *", "2026-03-10 12:00", "2037-01-01 06:00", "2026-03-11 06:00"),
        ("0 6 * * *", "2026-03-09 04:00", "2026-03-11 06:00", "2026-03-09 06:00"),
        ("0 * * * *", "2026-03-10 12:10", "2026-03-10 14:00", "2026-03-10 14:00"),
        # By less than an hour, right after a run: that run must not come again.
        ("0 6 * * *", "2026-03-10 05:59", "2026-03-11 06:00", "2026-03-11 06:00"),
        # What was missed while the machine was off stays due.
        ("0 6 * * *", "2026-03-10 12:00", "2026-03-01 06:00", "2026-03-01 06:00"),
    ],
)
def test_runs_that_a_clock_ahead_put_too_far_away_are_planned_anew(
    cron: str, now: str, planned: str, follows: str, tmp_path: Path
) -> None:
    def moment(text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    scheduler = SteadyScheduler(SteadyJobStore(tmp_path / "schedule.sqlite"), lambda _: None)
    scheduler.start(paused=True)
    trigger = standard_trigger(cron, "UTC")
    scheduler.add_job(watchlist_path, trigger, args=["one"], id="one", next_run_time=moment(planned))
    scheduler.add_job(watchlist_path, trigger, args=["two"], id="two")
    scheduler.pause_job("two")
    follow_clock(scheduler, moment(now))
    assert scheduler.get_job("one").next_run_time == moment(follows)
    assert scheduler.get_job("two").next_run_time is None
    scheduler.remove_jobstore("default")
    scheduler.shutdown()

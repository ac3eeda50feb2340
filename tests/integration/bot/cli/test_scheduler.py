"""The schedule: real processes, the real APScheduler and its job store; only stored times are set back."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler

from bot.cli.service.state import open_review_state
from bot.errors import ShoalError
from bot.home import Home
from bot.lock import hold_home, hold_schedule
from bot.service.watchlist_files import read_scheduled
from fixtures.folders import TESTS
from fixtures.shoal_here import Here, here
from fixtures.shoal_process import ROOT, one_line_error, start, until, write_watchlist

__all__ = ["here"]

NEW_YEAR = "0 0 1 1 *"
"""Not due while a test runs."""


def scheduled(folder: Path, name: str, cron: str = NEW_YEAR, **changed: Any) -> Path:
    """A watchlist with a schedule."""
    return write_watchlist(folder / f"{name}.yml", name=name, schedule={"cron": cron}, **changed)


@contextmanager
def job_store(home: Home) -> Iterator[Any]:
    """A paused scheduler on the home's job store."""
    scheduler = BackgroundScheduler(jobstores={"default": SQLAlchemyJobStore(url=f"sqlite:///{home.schedule}")})
    scheduler.start(paused=True)
    try:
        yield scheduler
    finally:
        scheduler.remove_jobstore("default")  # else it would look for due jobs once more
        scheduler.shutdown()


def jobs(home: Home) -> dict[str, str]:
    """Stored jobs: name → trigger."""
    with job_store(home) as scheduler:
        return {job.id: str(job.trigger) for job in scheduler.get_jobs()}


class Served:
    """A process that runs the schedule of a home (tests/fixtures/served.py), its diary, and its output.

    While there is a file of the diary's name that ends in .hold, its cycles do not end.
    """

    def __init__(self, home: Home, *watchlists: Path) -> None:
        self.diary, self.said = home.folder.with_suffix(".diary"), home.folder.with_suffix(".said")
        self.diary.touch()
        with self.said.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, str(TESTS / "fixtures" / "served.py"), home.folder, self.diary, *watchlists],
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )

    def lines(self) -> list[str]:
        """What the diary says."""
        return self.diary.read_text(encoding="utf-8").splitlines()

    def __enter__(self) -> Served:
        # The schedule is up when the process says when each watchlist is due.
        until(lambda: "\n" in self.said.read_text(encoding="utf-8"), self.process)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)


def miss(home: Home, **days: int) -> None:
    """Set the next run of stored jobs back into the past: the machine was off then."""
    with job_store(home) as scheduler:
        for name, ago in days.items():
            scheduler.modify_job(name, next_run_time=datetime.now(UTC) - timedelta(days=ago))


def test_a_watchlist_without_schedule_and_two_of_one_name_are_refused(here: Here, tmp_path: Path) -> None:
    bare = write_watchlist(tmp_path / "bare.yml")
    with pytest.raises(ShoalError, match=r"bare.yml: schedule: got none: .* use `shoal run`"):
        read_scheduled([bare])
    (tmp_path / "other").mkdir()
    twins = [scheduled(tmp_path, "twin"), scheduled(tmp_path / "other", "twin")]
    with pytest.raises(ShoalError, match=r"name: got 'twin': .* has the same name; rename one of them"):
        read_scheduled(twins)
    assert "schedule: got none" in one_line_error(here("serve", bare, "--home", tmp_path / "home"))


def test_the_job_store_follows_the_watchlists_and_keeps_missed_runs(tmp_path: Path) -> None:
    home, one, two = Home(tmp_path / "home"), scheduled(tmp_path, "one"), scheduled(tmp_path, "two")
    with Served(home, one, two) as served:
        line = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO one: next at 20\d\d-01-01 00:00 UTC\n"
        assert re.match(line, served.said.read_text(encoding="utf-8"))
    first = jobs(home)
    assert set(first) == {"one", "two"}
    with job_store(home) as scheduler:
        settings = {(job.misfire_grace_time, job.coalesce, job.max_instances) for job in scheduler.get_jobs()}
    assert settings == {(None, True, 1)}

    scheduled(tmp_path, "one", "30 6 2 1 *")
    with Served(home, one):
        pass
    assert set(jobs(home)) == {"one"} and jobs(home)["one"] != first["one"]


def test_missed_runs_are_made_up_once_in_the_order_in_which_they_were_due(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    daily = [scheduled(tmp_path, name, "0 0 * * *") for name in ("a", "b", "c")]
    with Served(home, *daily):
        pass
    miss(home, a=3, b=9, c=5)
    with Served(home, *daily) as served:
        until(lambda: len(served.lines()) >= 6, served.process)
        time.sleep(0.7)
        assert served.lines() == [f"{name} {what}" for name in ("b", "c", "a") for what in ("begins", "ends")]


def test_what_was_due_but_not_begun_when_the_process_was_killed_is_run_at_the_next_start(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    watchlists = [scheduled(tmp_path, name) for name in ("first", "second")]
    with Served(home, *watchlists):
        pass
    miss(home, first=2, second=1)
    hold = home.folder.with_suffix(".hold")
    hold.touch()
    with Served(home, *watchlists) as served:
        until(lambda: served.lines() == ["first begins"], served.process)
        served.process.kill()
    hold.unlink()
    with Served(home, *watchlists) as served:
        until(lambda: {"first ends", "second ends"} <= set(served.lines()), served.process)
        assert served.lines()[1:] == [f"{name} {what}" for name in ("first", "second") for what in ("begins", "ends")]


def test_a_cycle_that_fails_is_reported_and_the_schedule_continues(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    watchlists = [scheduled(tmp_path, name) for name in ("mendable", "full", "bug", "good")]
    with Served(home, *watchlists):
        pass
    miss(home, mendable=4, full=3, bug=2, good=1)
    with Served(home, *watchlists) as served:
        # The diary's last line comes before the log's: a signal in between would take that one away.
        until(lambda: "INFO good: next at" in served.said.read_text(encoding="utf-8"), served.process)
        assert "good ends" in served.lines()
    said = served.said.read_text(encoding="utf-8")
    assert "INFO mendable: due since 20" in said
    assert "ERROR mendable: failed: the Hub is down" in said and "WARNING mendable: will be tried again at 20" in said
    assert "ERROR full: failed: this machine: No space left; free some space and run the command again" in said
    assert "ERROR bug: failed: a bug in shoal: KeyError: 'oops'; please report it" in said
    assert "ERROR bug: Traceback" in said and "INFO good: next at 20" in said
    # Every line has its time, level and watchlist, a traceback's too.
    head = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ [A-Z]+ (mendable|full|bug|good): ")
    assert all(head.match(line) for line in said.splitlines())


def test_one_process_runs_the_schedule_and_leaves_the_home_free_between_cycles(here: Here, tmp_path: Path) -> None:
    home, one = Home(tmp_path / "home"), scheduled(tmp_path, "one")
    with Served(home, one):
        # Neither of them reaches for the state that the first one may keep.
        second = here("serve", one, "--home", home.folder, "--state", "reef/state")
        assert "runs the schedule of this home" in one_line_error(second)
        with pytest.raises(ShoalError, match=r"--state: got 'reef/state': a `shoal serve` runs .*; leave out --state"):
            open_review_state("reef/state", "http://127.0.0.1:9", home)
        with hold_home(home):
            pass
    with hold_schedule(home):
        pass


def test_sighup_rereads_the_watchlists_and_sigterm_ends_the_wait_with_status_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Nowhere/Land")  # the machine's zone is of no concern
    process = start("serve", scheduled(tmp_path, "one"), "--home", tmp_path / "home")
    assert process.stderr is not None and "INFO one: next at" in process.stderr.readline()
    process.send_signal(signal.SIGHUP)
    assert "INFO one: read again from" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.splitlines()[-1]) == (0, "", "stopped")

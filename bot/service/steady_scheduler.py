"""APScheduler's thread and its job store, made to outlive a full disk and a clock that is set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from apscheduler.job import Job
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.base import STATE_PAUSED

from bot.errors import failure_reason
from bot.ledger.database import open_plain

LONGEST_WAIT, RETRY_SECONDS = 60.0, 10.0
"""Seconds that the thread sleeps at most, because a clock may be set forward and a machine may sleep meanwhile; and
after a fault."""

CLOCK_STEP = timedelta(hours=1)
"""A clock that is set back by more than this moves the runs that are planned; by less, none would come twice."""

OnFault = Callable[[str | None], None]
"""Called with why the job store cannot be used, and with None when it can be used again."""


class SteadyJobStore(SQLAlchemyJobStore):  # type: ignore[misc]  # APScheduler ships no types
    """The job store in a file. It gives out what is due only while the next time can be stored: else a watchlist
    would run again and again.

    keep: is called with the names of the jobs that are due, before any is given out: with its next time stored, the
    store has forgotten that it is due.
    """

    def __init__(self, path: Path, keep: Callable[[Sequence[str]], None] = lambda _: None) -> None:
        super().__init__(engine=open_plain(path, "schedule"))
        self._keep = keep

    def get_due_jobs(self, now: datetime) -> list[Job]:
        """The jobs that are due; ShoalError if the store cannot be written, or they cannot be kept."""
        due: list[Job] = super().get_due_jobs(now)
        if due:
            with self.engine.begin() as connection:
                connection.exec_driver_sql("PRAGMA user_version = 1")
            self._keep([job.id for job in due])
        return due


class SteadyScheduler(BackgroundScheduler):  # type: ignore[misc]
    """A scheduler whose thread goes on after any fault, and looks at the clock every minute."""

    def __init__(self, store: SteadyJobStore, on_fault: OnFault, **options: object) -> None:
        # In UTC: the machine's own time zone may be unknown here, and every watchlist brings its own.
        super().__init__(jobstores={"default": store}, timezone=UTC, **options)
        self._store = store
        self._on_fault = on_fault

    def _process_jobs(self) -> float:
        if self.state == STATE_PAUSED:
            return LONGEST_WAIT
        try:
            follow_clock(self, datetime.now(UTC))
            self._store.get_due_jobs(datetime.now(UTC))  # APScheduler logs its faults where nobody reads them
            wait = super()._process_jobs()
        except Exception as error:
            self._on_fault(failure_reason(error))
            return RETRY_SECONDS
        self._on_fault(None)
        return LONGEST_WAIT if wait is None else min(wait, LONGEST_WAIT)


def follow_clock(scheduler: BackgroundScheduler, now: datetime) -> None:
    """Plan runs anew that a clock which was ahead has put too far into the future."""
    for job in scheduler.get_jobs():
        if job.next_run_time is None:
            continue
        latest = job.trigger.get_next_fire_time(None, now + CLOCK_STEP)
        if latest is not None and job.next_run_time > latest:
            job.modify(next_run_time=latest)

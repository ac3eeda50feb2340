"""The schedule: runs each watchlist when its cron string says so, one cycle at a time, until SIGTERM.

APScheduler finds out when a watchlist is due, in a thread of its own, and the main thread does the work. So cycles
cannot overlap, and a signal stops one at any point, even in a download, the way Ctrl-C does.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bot.errors import EXPECTED, ShoalError, error_message
from bot.home import Home
from bot.ledger.ledger import RESUMED, Ledger
from bot.lock import hold_home, hold_schedule
from bot.progress import Narrator
from bot.watchlist.cron import standard_trigger
from bot.watchlist.load import load_watchlist
from bot.watchlist.watchlist import Watchlist

if TYPE_CHECKING:
    from apscheduler.events import JobExecutionEvent
    from apscheduler.job import Job
    from apscheduler.schedulers.background import BackgroundScheduler

RunCycle = Callable[[Watchlist], None]


class DueWatchlists:
    """The paths of watchlists that are due, in the order in which they became due, each at most once."""

    def __init__(self) -> None:
        self._queue: queue.Queue[str] = queue.Queue()

    def add(self, path: str) -> None:
        """Put a path at the end, unless it is waiting already."""
        if path not in self._queue.queue:
            self._queue.put(path)

    def wait_for_next(self) -> str:
        """Take the first path; wait until there is one."""
        return self._queue.get()

    def take_all(self) -> set[str]:
        """Take every path that is waiting."""
        waiting = set()
        while not self._queue.empty():
            waiting.add(self._queue.get())
        return waiting


def watchlist_path(path: str) -> str:
    """The job that APScheduler stores, by the name of this function, and runs when a watchlist is due.

    A stored job can hold no queue, so it only returns its argument; APScheduler passes that on to listeners.
    """
    return path


def serve_watchlists(paths: Sequence[Path], home: Home, run: RunCycle, narrator: Narrator) -> None:
    """Run each watchlist whenever it is due, for ever; first those whose cycle was interrupted.

    run: runs one cycle. If it fails, the error is reported and the schedule continues. An exception that a signal
    handler raises (KeyboardInterrupt) ends the wait or the cycle; the next start resumes that cycle.

    Raises:
        ShoalError: a watchlist cannot be scheduled, or another process runs the home's schedule.
    """
    watchlists, due = load_scheduled(paths), DueWatchlists()
    with hold_schedule(home), _running_scheduler(watchlists, home, due) as scheduler:
        for job in scheduler.get_jobs():
            when = "next at" if job.next_run_time > datetime.now(UTC) else "due since"
            narrator.say(f"{job.name}: {when} {job.next_run_time:%Y-%m-%d %H:%M %Z}")
        while True:
            path = due.wait_for_next()
            try:
                _run_one(watchlists[Path(path)], home, run, narrator)
            except KeyboardInterrupt:
                due.add(path)
                raise


def load_scheduled(paths: Sequence[Path]) -> dict[Path, Watchlist]:
    """The watchlists by their absolute paths.

    Raises:
        ShoalError: one has no schedule, or two have the same name.
    """
    watchlists = {path.absolute(): load_watchlist(path) for path in paths}
    names: dict[str, Path] = {}
    for path, watchlist in watchlists.items():
        if watchlist.schedule is None:
            raise ShoalError(
                f"{path}: schedule: got none: `shoal serve` needs a cron string; add one, or use `shoal run`"
            )
        if watchlist.name in names:
            raise ShoalError(f"{path}: name: got {watchlist.name!r}: {names[watchlist.name]} has it too; rename one")
        names[watchlist.name] = path
    return watchlists


def find_interrupted(watchlists: Mapping[Path, Watchlist], home: Home) -> tuple[Path, ...]:
    """The watchlists whose newest cycle was interrupted or failed."""
    if not home.ledger.exists():
        return ()
    ledger = Ledger(home.ledger)
    newest = {cycle.watchlist: cycle for cycle in reversed(ledger.cycles())}
    ledger.close()
    return tuple(
        path
        for path, watchlist in watchlists.items()
        if watchlist.name in newest and newest[watchlist.name].state in RESUMED
    )


def _run_one(watchlist: Watchlist, home: Home, run: RunCycle, narrator: Narrator) -> None:
    """Run one cycle. The home is held only meanwhile, so that `shoal publish` can run between cycles."""
    try:
        with hold_home(home, lambda: narrator.say(f"{watchlist.name}: due; waiting for another shoal process to end")):
            run(watchlist)
    except EXPECTED as error:
        narrator.say(f"{watchlist.name}: {error_message(error)}")
    except Exception as error:  # a fault in shoal itself must not end the schedule of the other watchlists
        logging.getLogger("shoal").exception("the cycle of %s failed", watchlist.name)
        narrator.say(f"{watchlist.name}: a fault in shoal: {type(error).__name__}: {error}; please report it")


@contextmanager
def _running_scheduler(
    watchlists: Mapping[Path, Watchlist], home: Home, due: DueWatchlists
) -> Iterator[BackgroundScheduler]:
    """APScheduler on the home's job store, which adds to `due`; what is due at the end is kept for the next start."""
    from apscheduler.events import EVENT_JOB_EXECUTED
    from apscheduler.executors.pool import ThreadPoolExecutor
    from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
    from apscheduler.schedulers.background import BackgroundScheduler

    def add_due(event: JobExecutionEvent) -> None:
        due.add(event.retval)

    # One thread, so that watchlists are added in the order in which they became due.
    executor = ThreadPoolExecutor(1)
    scheduler = BackgroundScheduler(
        jobstores={"default": SQLAlchemyJobStore(url=f"sqlite:///{home.schedule}")},
        executors={"default": executor},
        # A run missed while the machine was off or a long cycle was running is made up, once.
        job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
    )
    scheduler.add_listener(add_due, EVENT_JOB_EXECUTED)
    scheduler.start(paused=True)
    try:
        _update_jobs(scheduler, watchlists)
        for path in find_interrupted(watchlists, home):
            due.add(str(path))
        scheduler.resume()
        yield scheduler
    finally:
        scheduler.pause()
        jobs = scheduler.get_jobs()  # waits for a search for due jobs in the scheduler's thread
        executor.shutdown()
        begun = {str(path) for path in find_interrupted(watchlists, home)}
        _make_due_again(jobs, due.take_all() - begun)
        # Without a job store, because shutdown looks for due jobs once more and would lose their runs.
        scheduler.remove_jobstore("default")
        scheduler.shutdown(wait=False)


def _make_due_again(jobs: Sequence[Job], paths: set[str]) -> None:
    """Make watchlists that were due but not begun due again, for the next start."""
    for job in jobs:
        if job.args[0] in paths:
            job.modify(next_run_time=datetime.now(UTC))


def _update_jobs(scheduler: BackgroundScheduler, watchlists: Mapping[Path, Watchlist]) -> None:
    """Make the stored jobs those of the watchlists. An unchanged job is kept, because it knows of a missed run."""
    names = {watchlist.name for watchlist in watchlists.values()}
    for job in scheduler.get_jobs():
        if job.id not in names:
            job.remove()
    for path, watchlist in watchlists.items():
        assert watchlist.schedule is not None  # load_scheduled refuses it
        trigger = standard_trigger(watchlist.schedule.cron, watchlist.schedule.timezone)
        stored = scheduler.get_job(watchlist.name)
        if stored is None or repr(stored.trigger) != repr(trigger) or stored.args != (str(path),):
            scheduler.add_job(
                watchlist_path, trigger, args=[str(path)], id=watchlist.name, name=watchlist.name, replace_existing=True
            )

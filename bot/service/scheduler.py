"""The schedule: each watchlist at its cron string, one cycle at a time, until SIGTERM.

APScheduler says when a watchlist is due and the main thread does the work. So cycles cannot overlap, and a signal
stops one anywhere, a download included, the same way as Ctrl-C does.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bot.errors import EXPECTED, ShoalError, error_message
from bot.home import Home
from bot.ledger.ledger import Ledger, State
from bot.lock import hold, hold_schedule
from bot.progress import Narrator
from bot.watchlist.watchlist import Watchlist, cron_trigger, load

_due: queue.Queue[str] = queue.Queue()
"""Paths of watchlists whose time has come. APScheduler stores jobs by name, so what they feed lives in the module."""


def announce(path: str) -> None:
    """The job that the scheduler stores: say that a watchlist is due."""
    if path not in _due.queue:
        _due.put(path)


def serve(paths: Sequence[Path], home: Home, run: Callable[[Watchlist], None], narrator: Narrator) -> None:
    """Run each watchlist when it is due, for ever; first those whose cycle was interrupted.

    run: does one cycle. One that fails is told and the schedule goes on. An exception that a signal handler raises
    (KeyboardInterrupt) ends the wait or the cycle under way; the next start goes on with that cycle.
    """
    watchlists = load_scheduled(paths)
    with hold_schedule(home), _scheduler(watchlists, home) as scheduler:
        for job in scheduler.get_jobs():
            when = "next at" if job.next_run_time > datetime.now(UTC) else "due since"
            narrator.say(f"{job.name}: {when} {job.next_run_time:%Y-%m-%d %H:%M %Z}")
        while True:
            path = _due.get()
            try:
                _run_one(watchlists[Path(path)], home, run, narrator)
            except KeyboardInterrupt:
                announce(path)
                raise


def load_scheduled(paths: Sequence[Path]) -> dict[Path, Watchlist]:
    """The watchlists by their absolute paths; ShoalError for one without a schedule, or two of one name."""
    watchlists = {path.absolute(): load(path) for path in paths}
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


def unfinished(watchlists: Mapping[Path, Watchlist], home: Home) -> tuple[Path, ...]:
    """Those whose newest cycle was interrupted."""
    if not home.ledger.exists():
        return ()
    ledger = Ledger(home.ledger)
    newest = {cycle.watchlist: cycle for cycle in reversed(ledger.cycles())}
    ledger.close()
    return tuple(
        path
        for path, watchlist in watchlists.items()
        if watchlist.name in newest and newest[watchlist.name].state is State.RUNNING
    )


def _run_one(watchlist: Watchlist, home: Home, run: Callable[[Watchlist], None], narrator: Narrator) -> None:
    """One cycle; the home is held only while it runs, so that `shoal publish` gets its turn between cycles."""
    try:
        with hold(home, lambda: narrator.say(f"{watchlist.name}: due; waits for another shoal process to end")):
            run(watchlist)
    except EXPECTED as error:
        narrator.say(f"{watchlist.name}: {error_message(error)}")
    except Exception as error:  # a fault in shoal itself must not end the others' schedule
        logging.getLogger("shoal").exception("the cycle of %s failed", watchlist.name)
        narrator.say(f"{watchlist.name}: a fault in shoal: {type(error).__name__}: {error}; please report it")


@contextmanager
def _scheduler(watchlists: Mapping[Path, Watchlist], home: Home) -> Iterator[Any]:
    from apscheduler.executors.pool import ThreadPoolExecutor
    from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
    from apscheduler.schedulers.background import BackgroundScheduler

    # One thread, so that watchlists are announced in the order in which they were due.
    announcer = ThreadPoolExecutor(1)
    scheduler = BackgroundScheduler(
        jobstores={"default": SQLAlchemyJobStore(url=f"sqlite:///{home.schedule}")},
        executors={"default": announcer},
        # A run missed while the machine was off or a long cycle was under way is made up for, once.
        job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
    )
    scheduler.start(paused=True)
    try:
        _bring_up_to_date(scheduler, watchlists)
        for path in unfinished(watchlists, home):
            announce(str(path))
        scheduler.resume()
        yield scheduler
    finally:
        scheduler.pause()
        jobs = scheduler.get_jobs()  # comes after a look for due jobs that is under way
        announcer.shutdown()
        _put_back(jobs, {str(path) for path in unfinished(watchlists, home)})
        # At its end APScheduler looks once more for jobs that are due, and loses their runs if it finds any.
        scheduler.remove_jobstore("default")
        scheduler.shutdown(wait=False)


def _put_back(jobs: Sequence[Any], begun: set[str]) -> None:
    """Make watchlists that were announced but not begun due again, for the next start."""
    waiting = set()
    while not _due.empty():
        waiting.add(_due.get())
    for job in jobs:
        if job.args[0] in waiting - begun:
            job.modify(next_run_time=datetime.now(UTC))


def _bring_up_to_date(scheduler: Any, watchlists: Mapping[Path, Watchlist]) -> None:
    """One stored job a watchlist. One whose cron string is the same is kept: it knows which run was missed."""
    wanted = {watchlist.name for watchlist in watchlists.values()}
    for job in scheduler.get_jobs():
        if job.id not in wanted:
            job.remove()
    for path, watchlist in watchlists.items():
        assert watchlist.schedule is not None  # load_scheduled refuses it
        trigger = cron_trigger(watchlist.schedule)
        stored = scheduler.get_job(watchlist.name)
        if stored is None or repr(stored.trigger) != repr(trigger) or stored.args != (str(path),):
            scheduler.add_job(
                announce, trigger, args=[str(path)], id=watchlist.name, name=watchlist.name, replace_existing=True
            )

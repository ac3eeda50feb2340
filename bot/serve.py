"""The schedule: each watchlist at its cron string, one cycle at a time, until SIGTERM.

APScheduler says when a watchlist is due and the main thread does the work. So cycles cannot overlap, and a signal
stops one anywhere, a download included, the same way as Ctrl-C does.
"""

from __future__ import annotations

import queue
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bot.errors import ShoalError
from bot.home import Home
from bot.ledger.book import Ledger, State
from bot.lock import hold
from bot.progress import Narrator
from bot.watchlist.model import Watchlist, cron_trigger, load
from evaluation.errors import EvaluationError
from merging.errors import MergingError

_due: queue.Queue[str] = queue.Queue()
"""Paths of watchlists whose time has come. APScheduler stores jobs by name, so what they feed lives in the module."""


def announce(path: str) -> None:
    """The job that the scheduler stores: say that a watchlist is due."""
    if path not in _due.queue:
        _due.put(path)


def serve(paths: Sequence[Path], home: Home, run: Callable[[Watchlist], None], narrator: Narrator) -> None:
    """Run each watchlist when it is due, for ever; first those whose cycle was interrupted.

    run: does one cycle. One that fails is told and the schedule goes on. SIGTERM and Ctrl-C end the wait or the
    cycle under way by KeyboardInterrupt; the next start goes on with that cycle. The home is held all the time.
    """
    watchlists = load_scheduled(paths)
    with hold(home), _scheduler(watchlists, home) as scheduler, _stops_on_sigterm():
        for path in unfinished(watchlists, home):
            announce(str(path))
        for job in scheduler.get_jobs():
            narrator.say(f"{job.name}: next at {job.next_run_time:%Y-%m-%d %H:%M %Z}")
        while True:
            watchlist = watchlists[Path(_due.get())]
            try:
                run(watchlist)
            except (ShoalError, MergingError, EvaluationError) as error:
                narrator.say(f"{watchlist.name}: {error}")


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


@contextmanager
def _scheduler(watchlists: Mapping[Path, Watchlist], home: Home) -> Iterator[Any]:
    from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
    from apscheduler.schedulers.background import BackgroundScheduler

    home.folder.mkdir(parents=True, exist_ok=True)
    scheduler = BackgroundScheduler(
        jobstores={"default": SQLAlchemyJobStore(url=f"sqlite:///{home.schedule}")},
        # A run missed while the machine was off or a long cycle was under way is made up for, once.
        job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
    )
    scheduler.start(paused=True)
    wanted = {watchlist.name: path for path, watchlist in watchlists.items()}
    for job in scheduler.get_jobs():
        if job.id not in wanted:
            job.remove()
    for path, watchlist in watchlists.items():
        _schedule(scheduler, watchlist, path)
    scheduler.resume()
    try:
        yield scheduler
    finally:
        scheduler.shutdown(wait=False)


def _schedule(scheduler: Any, watchlist: Watchlist, path: Path) -> None:
    """Add the job, or keep the stored one where its cron string is the same: it knows which run was missed."""
    assert watchlist.schedule is not None  # load_scheduled refuses it
    trigger = cron_trigger(watchlist.schedule)
    stored = scheduler.get_job(watchlist.name)
    if stored is not None and repr(stored.trigger) == repr(trigger) and stored.args == (str(path),):
        return
    scheduler.add_job(
        announce, trigger, args=[str(path)], id=watchlist.name, name=watchlist.name, replace_existing=True
    )


@contextmanager
def _stops_on_sigterm() -> Iterator[None]:
    def stop(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

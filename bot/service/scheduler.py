"""The schedule: APScheduler finds out when a watchlist is due, in a thread of its own, and puts it into a queue.

The main thread takes from the queue and does the work (`bot.service.serve`). So cycles cannot overlap, and a signal
stops one at any point, even in a download, the way Ctrl-C does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Condition
from typing import TYPE_CHECKING

from bot.errors import ShoalError
from bot.home import Home
from bot.ledger.ledger import RESUMED, Ledger
from bot.ledger.run_requests import SCHEDULE, make_run_request, waiting_runs
from bot.service.schedule_times import ScheduleTimes, missed_names, paused_names, take_restored_times
from bot.watchlist.schedule.cron import standard_trigger
from bot.watchlist.watchlist import Watchlist

if TYPE_CHECKING:
    from apscheduler.events import JobExecutionEvent
    from apscheduler.schedulers.background import BackgroundScheduler

    from bot.service.steady_scheduler import OnFault


class DueWatchlists:
    """The paths of watchlists that are due, in the order in which they became due, each at most once."""

    def __init__(self) -> None:
        self._paths: list[str] = []
        self._asked: set[str] = set()
        self._changing = Condition()

    def add(self, path: str, *, asked: bool = False) -> None:
        """Put a path at the end, unless it is waiting already; any thread may.

        asked: it is due only because somebody asked for it, and may change their mind.
        """
        with self._changing:
            if is_new := path not in self._paths:
                self._paths.append(path)
                self._changing.notify()
            if not asked:
                self._asked.discard(path)
            elif is_new:
                self._asked.add(path)

    def withdraw(self, path: str) -> bool:
        """Take out a path that somebody asked for; whether it was still waiting. What is due otherwise, too, stays."""
        with self._changing:
            is_waiting = path in self._paths
            if is_waiting and path in self._asked:
                self._paths.remove(path)
            self._asked.discard(path)
            return is_waiting

    def wait_for_next(self, seconds: float) -> str | None:
        """The first path, which stays until it is taken; wait for one this long."""
        with self._changing:
            self._changing.wait_for(lambda: self._paths, seconds)
            return self._paths[0] if self._paths else None

    def take(self, path: str) -> bool:
        """Take out a path that is to be run now; whether it was still waiting."""
        with self._changing:
            if is_waiting := path in self._paths:
                self._paths.remove(path)
            self._asked.discard(path)
            return is_waiting

    def waiting(self) -> tuple[str, ...]:
        """The paths that are waiting, the first due first."""
        with self._changing:
            return tuple(self._paths)


def watchlist_path(path: str) -> str:
    """The job that APScheduler stores, by the name of this function, and runs when a watchlist is due.

    A stored job can hold no queue, so it only returns its argument; APScheduler passes that on to listeners.
    """
    return path


class CronJobs:
    """The stored jobs of a schedule, one for each watchlist."""

    def __init__(self, scheduler: BackgroundScheduler) -> None:
        self._scheduler = scheduler

    def is_running(self) -> bool:
        """Whether the scheduler's thread looks for what is due; any thread may ask."""
        thread = getattr(self._scheduler, "_thread", None)
        return bool(self._scheduler.running) and thread is not None and thread.is_alive()

    def update(self, watchlists: Mapping[Path, Watchlist]) -> None:
        """Make the jobs those of the watchlists. An unchanged job is kept, because it knows of a missed run."""
        names = {watchlist.name for watchlist in watchlists.values()}
        for job in self._scheduler.get_jobs():
            if job.id not in names:
                job.remove()
        for path, watchlist in watchlists.items():
            self._update_one(path, watchlist)

    def next_run(self, watchlist: str) -> str:
        """When a watchlist is due, in words."""
        try:
            job = self._scheduler.get_job(watchlist)
        except ShoalError as error:
            return str(error)
        if job is None:
            return "not in the schedule yet"
        moment: datetime | None = job.next_run_time
        if moment is None:
            return "paused: it runs when it is asked to"
        return f"{'next at' if moment > datetime.now(UTC) else 'due since'} {moment:%Y-%m-%d %H:%M %Z}"

    def paths(self) -> dict[str, str]:
        """Watchlist's name → path of its file."""
        return {job.id: str(job.args[0]) for job in self._scheduler.get_jobs()}

    def paused(self) -> frozenset[str]:
        """The names of the watchlists that are paused."""
        return frozenset(job.id for job in self._scheduler.get_jobs() if job.next_run_time is None)

    def pause(self, watchlist: str) -> None:
        """Leave out a watchlist's runs until it is resumed; the job store remembers it."""
        self._scheduler.pause_job(watchlist)

    def resume(self, watchlist: str) -> None:
        """Run a watchlist on its schedule again, from its next time on."""
        self._scheduler.resume_job(watchlist)

    def take_over(self, times: ScheduleTimes) -> None:
        """Go on as another schedule did: what was paused there is paused, and what it missed is due."""
        now = datetime.now(UTC)
        for job in self._scheduler.get_jobs():
            if job.id in paused_names(times):
                job.pause()
            elif job.id in missed_names(times, now.timestamp()):
                job.modify(next_run_time=now)

    def _update_one(self, path: Path, watchlist: Watchlist) -> None:
        assert watchlist.schedule is not None  # `load_scheduled` refuses it
        trigger = standard_trigger(watchlist.schedule.cron, watchlist.schedule.timezone)
        stored = self._scheduler.get_job(watchlist.name)
        if stored is None or repr(stored.trigger) != repr(trigger) or stored.args != (str(path),):
            self._scheduler.add_job(
                watchlist_path, trigger, args=[str(path)], id=watchlist.name, name=watchlist.name, replace_existing=True
            )
            if stored is not None and stored.next_run_time is None:
                self.pause(watchlist.name)  # a new time does not resume it


def find_resumable(watchlists: Mapping[Path, Watchlist], home: Home) -> tuple[Path, ...]:
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


def add_waiting_runs(home: Home, cron_jobs: CronJobs, due: DueWatchlists) -> None:
    """Add what was due or asked for when the last process ended, and had not begun."""
    if not home.ledger.exists():
        return
    ledger, paths = Ledger(home.ledger), cron_jobs.paths()
    for request in waiting_runs(ledger):
        if request.watchlist in paths:
            due.add(paths[request.watchlist], asked=request.who != SCHEDULE)
    ledger.close()


@contextmanager
def running_schedule(
    watchlists: Mapping[Path, Watchlist], home: Home, due: DueWatchlists, on_fault: OnFault = lambda _: None
) -> Iterator[CronJobs]:
    """APScheduler on the home's job store, which adds to `due`. What is due is kept in the ledger until it begins.

    on_fault: called with what is wrong with the job store, and with None when it can be used.
    """
    from apscheduler.events import EVENT_JOB_EXECUTED
    from apscheduler.executors.pool import ThreadPoolExecutor

    from bot.service.steady_scheduler import SteadyJobStore, SteadyScheduler

    def keep_due(names: Sequence[str]) -> None:
        ledger = Ledger(home.ledger)
        for name in names:
            make_run_request(ledger, name, SCHEDULE)
        ledger.close()

    def add_due(event: JobExecutionEvent) -> None:
        due.add(event.retval)

    # One thread, so that watchlists are added in the order in which they became due.
    executor = ThreadPoolExecutor(1)
    scheduler = SteadyScheduler(
        SteadyJobStore(home.schedule, keep_due),
        on_fault,
        executors={"default": executor},
        # A run missed while the machine was off or a long cycle was running is made up, once.
        job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
    )
    scheduler.add_listener(add_due, EVENT_JOB_EXECUTED)
    scheduler.start(paused=True)
    cron_jobs = CronJobs(scheduler)
    try:
        cron_jobs.update(watchlists)
        cron_jobs.take_over(take_restored_times(home))
        for path in find_resumable(watchlists, home):
            due.add(str(path))
        add_waiting_runs(home, cron_jobs, due)
        scheduler.resume()
        yield cron_jobs
    finally:
        scheduler.pause()
        with suppress(ShoalError):
            scheduler.get_jobs()  # waits for a search for due jobs in the scheduler's thread
        executor.shutdown()
        # Without a job store, because shutdown looks for due jobs once more and would lose their runs.
        scheduler.remove_jobstore("default")
        scheduler.shutdown(wait=False)

"""`shoal serve`: runs each watchlist when it is due, one cycle at a time, until SIGTERM.

Failed cycles are tried again with growing pauses, and edited watchlists are read again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from pathlib import Path

from bot.errors import EXPECTED, failure_reason
from bot.home import Home
from bot.lock import hold_home, hold_schedule
from bot.progress import Narrator
from bot.service.log import LogNarrator, log_of
from bot.service.retries import Retries
from bot.service.scheduler import CronJobs, DueWatchlists, running_schedule
from bot.service.watchlist_files import FileEdit, ScheduledFile, find_edits, read_scheduled
from bot.service.webhooks.wakes import Wakes
from bot.watchlist.watchlist import Watchlist

OpenPage = Callable[[CronJobs, DueWatchlists, Retries, Wakes], AbstractContextManager[object]]
"""Opens the page of a schedule, and the way in for the Hub's calls, for as long as a block runs."""

RunCycle = Callable[[Watchlist, Narrator], None]

TICK_SECONDS = 2.0
"""Seconds between looks at the watchlist files and the retries, while no cycle runs."""


class RereadRequest:
    """SIGHUP's request to read all watchlists again."""

    def __init__(self) -> None:
        self._made = False

    def make(self, *_: object) -> None:
        """Ask for it; a signal handler."""
        self._made = True

    def take(self) -> bool:
        """Whether it was asked for since the last call."""
        made, self._made = self._made, False
        return made


def serve_watchlists(
    paths: Sequence[Path],
    home: Home,
    run: RunCycle,
    request: RereadRequest,
    open_page: OpenPage | None = None,
) -> None:
    """Run each watchlist whenever it is due, for ever; first those whose cycle was interrupted or failed.

    run: runs one cycle. If it fails, the error is logged, the cycle is tried again later, and the schedule continues.
    An exception that a signal handler raises (KeyboardInterrupt) ends the wait or the cycle; the next start resumes
    that cycle.

    Raises:
        ShoalError: a watchlist cannot be scheduled, or another process runs the home's schedule.
    """
    files, due, retries = read_scheduled(paths), DueWatchlists(), Retries(lambda: datetime.now(UTC))
    watchlists = {file.path: file.watchlist for file in files}
    with ExitStack() as stack:
        stack.enter_context(hold_schedule(home))
        wakes = Wakes(home, watchlists.values())
        cron_jobs = stack.enter_context(running_schedule(watchlists, home, due))
        if open_page is not None:
            stack.enter_context(open_page(cron_jobs, due, retries, wakes))
        service = Service(files, home, run, due, cron_jobs, retries, wakes)
        service.announce()
        while True:
            service.follow_edits(every=request.take())
            service.run_next(TICK_SECONDS)


class Service:
    """The watchlists of a schedule, and what becomes of each."""

    def __init__(
        self,
        files: Sequence[ScheduledFile],
        home: Home,
        run: RunCycle,
        due: DueWatchlists,
        cron_jobs: CronJobs,
        retries: Retries,
        wakes: Wakes,
    ) -> None:
        self._files = {file.path: file for file in files}
        self._home = home
        self._run = run
        self._due = due
        self._cron_jobs = cron_jobs
        self._retries = retries
        self._wakes = wakes

    def announce(self) -> None:
        """Log when each watchlist is due."""
        for file in self._files.values():
            log_of(file.watchlist.name).info(self._next_run(file.watchlist.name))

    def follow_edits(self, *, every: bool) -> None:
        """Take over watchlists that were edited; every: read the others again too."""
        edits = find_edits(tuple(self._files.values()), every=every)
        self._files |= {edit.file.path: edit.file for edit in edits}
        if any(edit.fault is None for edit in edits):
            self._wakes.follow([file.watchlist for file in self._files.values()])
            self._cron_jobs.update({path: file.watchlist for path, file in self._files.items()})
        for edit in edits:
            self._log_edit(edit)

    def run_next(self, seconds: float) -> None:
        """Run the watchlist that is due next; wait for one this long."""
        for path in self._retries.take_due():
            self._due.add(str(path))
        self._add_woken()
        if (waiting := self._due.wait_for_next(seconds)) is None:
            return
        watchlist = self._files[path := Path(waiting)].watchlist
        self._retries.begin(path)
        try:
            succeeded = self._complete(watchlist)
        except KeyboardInterrupt:
            self._due.add(waiting)
            raise
        if succeeded:
            self._retries.succeed(path)
            log_of(watchlist.name).info(self._next_run(watchlist.name))
        else:
            self._plan_retry(path, watchlist.name)

    def _complete(self, watchlist: Watchlist) -> bool:
        """Run one cycle; returns whether it ended well. The home is held only meanwhile, for other commands' sake."""
        log = log_of(watchlist.name)
        try:
            with hold_home(self._home, lambda: log.info("due; waiting for another shoal process to end")):
                self._wakes.begin(watchlist.name)
                self._run(watchlist, LogNarrator(log))
                self._wakes.end(watchlist.name)
        except Exception as error:  # a fault in shoal itself must not end the schedule of the other watchlists
            log.error(f"failed: {failure_reason(error)}", exc_info=not isinstance(error, EXPECTED))
            return False
        return True

    def _add_woken(self) -> None:
        """Make due what the Hub's calls have woken."""
        paths = {file.watchlist.name: path for path, file in self._files.items()}
        for wake in self._wakes.take_due(self._cron_jobs.paused):
            log_of(wake.watchlist).info(f"woken by {wake.cause}")
            self._due.add(str(paths[wake.watchlist]))

    def _plan_retry(self, path: Path, name: str) -> None:
        again = self._retries.fail(path)
        if again is not None:
            log_of(name).warning(f"will be tried again at {again:%Y-%m-%d %H:%M %Z}")
        else:
            log_of(name).error(f"failed too often in a row, so it waits for its next cron time; {self._next_run(name)}")

    def _next_run(self, name: str) -> str:
        return self._cron_jobs.next_run(name)

    def _log_edit(self, edit: FileEdit) -> None:
        name = edit.file.watchlist.name
        if edit.fault is None:
            self._retries.hurry(edit.file.path)
            log_of(name).info(f"read again from {edit.file.path}; {self._next_run(name)}")
        else:
            log_of(name).error(edit.fault)

"""`shoal serve`: runs each watchlist when it is due, one cycle at a time, until SIGTERM.

Failed cycles are tried again with growing pauses, and edited watchlists are read again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path

from bot.errors import EXPECTED, ShoalError, failure_reason
from bot.home import Home
from bot.lock import hold_home
from bot.progress import Narrator
from bot.service.facts.disk import describe_full_disk
from bot.service.facts.service_file import ServiceFile
from bot.service.log import LogNarrator, log_of
from bot.service.retries import Retries
from bot.service.scheduler import CronJobs, DueWatchlists, running_schedule
from bot.service.watchlist_files import FileEdit, ScheduledFile, find_edits, read_scheduled
from bot.service.webhooks.wakes import Wakes
from bot.watchlist.watchlist import Watchlist

OpenPage = Callable[[CronJobs, DueWatchlists, Retries, Wakes], AbstractContextManager[object]]
"""Opens the page of a schedule, and the way in for the Hub's calls, for as long as a block runs."""

RunCycle = Callable[[Watchlist, Narrator], None]

SCHEDULE = "schedule"
"""What the log's lines about all watchlists name."""

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


class FaultLog:
    """Logs a fault of the schedule once, and its end, and shows it to other processes."""

    def __init__(self, name: str, shown: ServiceFile) -> None:
        self._log = log_of(name)
        self._shown = shown
        self._fault: str | None = None

    def __call__(self, fault: str | None) -> None:
        """Called after each look, with the fault or None."""
        if fault is not None and self._fault is None:
            self._log.error(f"{fault}; no run is lost: they come when it can be used again")
        elif fault is None and self._fault is not None:
            self._log.info("can be used again")
        if fault != self._fault:
            self._shown.update(schedule_fault=fault or "")
        self._fault = fault


def serve_watchlists(
    paths: Sequence[Path],
    home: Home,
    run: RunCycle,
    request: RereadRequest,
    open_page: OpenPage | None = None,
    service_file: ServiceFile | None = None,
) -> None:
    """Run each watchlist whenever it is due, for ever; first those whose cycle was interrupted or failed.

    The caller holds the home's schedule.

    run: runs one cycle. If it fails, the error is logged, the cycle is tried again later, and the schedule continues.
    An exception that a signal handler raises (KeyboardInterrupt) ends the wait or the cycle; the next start resumes
    that cycle. service_file: shows others what the service has in hand; None: one that nobody else writes to.

    Raises:
        ShoalError: a watchlist cannot be scheduled, or the job store cannot be used.
    """
    files, due, retries = read_scheduled(paths), DueWatchlists(), Retries()
    watchlists = {file.path: file.watchlist for file in files}
    with ExitStack() as stack:
        shown = stack.enter_context(closing(service_file or ServiceFile(home)))
        wakes = Wakes(home, watchlists.values())
        cron_jobs = stack.enter_context(running_schedule(watchlists, home, due, FaultLog(SCHEDULE, shown)))
        if open_page is not None:
            stack.enter_context(open_page(cron_jobs, due, retries, wakes))
        service = Service(files, home, run, due, cron_jobs, retries, wakes, shown)
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
        shown: ServiceFile,
    ) -> None:
        self._files = {file.path: file for file in files}
        self._home = home
        self._run = run
        self._due = due
        self._cron_jobs = cron_jobs
        self._retries = retries
        self._wakes = wakes
        self._shown = shown
        self._held = self._wake_fault = ""
        self._jobs_are_old = False

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
        if self._jobs_are_old or any(edit.fault is None for edit in edits):
            self._update_jobs()
        for edit in edits:
            self._log_edit(edit)

    def run_next(self, seconds: float) -> None:
        """Run the watchlist that is due next; wait for one this long."""
        for path in self._retries.take_due():
            self._due.add(str(path))
        self._add_woken()
        self._show()
        if self._is_held():
            time.sleep(seconds)
            return
        if (waiting := self._due.wait_for_next(seconds)) is None:
            return
        log = log_of(self._files[path := Path(waiting)].watchlist.name)
        try:
            with hold_home(self._home, lambda: log.info("due; waiting for another shoal process to end")):
                if self._due.take(waiting):  # else it was withdrawn meanwhile
                    self._complete(path)
        except ShoalError as error:  # the home cannot be held
            self._due.take(waiting)
            self._fail(path, error)

    def _is_held(self) -> bool:
        """Whether what is due has to wait for room on the disk; says so once, and that it goes on."""
        fault = describe_full_disk(self._home) if self._due.waiting() else None
        for path in self._due.waiting():
            log = log_of(self._files[Path(path)].watchlist.name)
            if fault is not None and not self._held:
                log.error(f"due, and waits for room: {fault}")
            elif fault is None and self._held:
                log.info("goes on: there is room on the disk again")
        self._held = fault or ""
        return fault is not None

    def _show(self) -> None:
        """Tell other processes what is in hand."""
        names = {path: file.watchlist.name for path, file in self._files.items()}
        self._shown.update(
            files={name: str(path) for path, name in names.items()},
            due=tuple(names[Path(path)] for path in self._due.waiting()),
            retries={names[path]: planned for path, planned in self._retries.planned().items()},
            held=self._held,
        )

    def _update_jobs(self) -> None:
        """Store the jobs of the watchlists as they are now; where that fails, the next look tries again."""
        try:
            self._cron_jobs.update({path: file.watchlist for path, file in self._files.items()})
        except ShoalError as error:
            if not self._jobs_are_old:
                log_of(SCHEDULE).error(f"the schedule stays as it was: {error}")
            self._jobs_are_old = True
        else:
            self._jobs_are_old = False

    def _complete(self, path: Path) -> None:
        """Run one cycle; the home is held meanwhile."""
        watchlist = self._files[path].watchlist
        log = log_of(watchlist.name)
        self._retries.begin(path)
        self._show()
        try:
            self._wakes.begin(watchlist.name)
            self._run(watchlist, LogNarrator(log))
            self._wakes.end(watchlist.name)
        except Exception as error:  # a fault in shoal itself must not end the schedule of the other watchlists
            self._fail(path, error)
        else:
            self._retries.succeed(path)
            log.info(self._next_run(watchlist.name))

    def _fail(self, path: Path, error: Exception) -> None:
        """Log why a cycle failed, and plan its next try."""
        name, reason = self._files[path].watchlist.name, failure_reason(error)
        log = log_of(name)
        log.error(f"failed: {reason}", exc_info=None if isinstance(error, EXPECTED) else error)
        again = self._retries.fail(path, reason)
        if again is not None:
            log.warning(f"will be tried again at {again:%Y-%m-%d %H:%M %Z}")
        else:
            log.error(f"failed too often in a row, so it waits for its next cron time; {self._next_run(name)}")

    def _add_woken(self) -> None:
        """Make due what the Hub's calls have woken."""
        paths = {file.watchlist.name: path for path, file in self._files.items()}
        try:
            woken = self._wakes.take_due(self._cron_jobs.paused)
        except ShoalError as error:  # the schedule cannot be read now; what was woken stays so
            if str(error) != self._wake_fault:
                log_of(SCHEDULE).error(str(error))
            self._wake_fault = str(error)
            return
        self._wake_fault = ""
        for wake in woken:
            log_of(wake.watchlist).info(f"woken by {wake.cause}")
            self._due.add(str(paths[wake.watchlist]))

    def _next_run(self, name: str) -> str:
        return self._cron_jobs.next_run(name)

    def _log_edit(self, edit: FileEdit) -> None:
        name = edit.file.watchlist.name
        if edit.fault is None:
            self._retries.hurry(edit.file.path)
            log_of(name).info(f"read again from {edit.file.path}; {self._next_run(name)}")
        else:
            log_of(name).error(edit.fault)

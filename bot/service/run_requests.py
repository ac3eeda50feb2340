"""Runs that people ask for on the page: in the ledger until a cycle begins, so that a crash loses none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from bot.errors import failure_reason
from bot.home import Home
from bot.ledger.ledger import Ledger
from bot.ledger.requests import RequestState
from bot.ledger.run_requests import RunRequest, make_run_request, settle_run_request, waiting_runs
from bot.service.log import log_of
from bot.service.scheduler import CronJobs, DueWatchlists


class RunRequests:
    """The runs that were asked for of a schedule's watchlists. What waited when the last process ended is due again."""

    def __init__(self, home: Home, cron_jobs: CronJobs, due: DueWatchlists) -> None:
        self._home = home
        self._cron_jobs = cron_jobs
        self._due = due
        due.on_take = self._begin
        paths = cron_jobs.paths()
        for name in self.waiting():
            if name in paths:
                due.add(paths[name], asked=True)

    def waiting(self) -> dict[str, RunRequest]:
        """Watchlist → the request that waits for it."""
        if not self._home.ledger.exists():
            return {}
        with self._ledger() as ledger:
            return waiting_runs(ledger)

    def ask(self, watchlist: str, who: str) -> None:
        """Run a watchlist as soon as no other cycle runs."""
        with self._ledger() as ledger:
            make_run_request(ledger, watchlist, who)
        self._due.add(self._cron_jobs.paths()[watchlist], asked=True)
        log_of(watchlist).info(f"{who} asked to run it now")

    def withdraw(self, watchlist: str, who: str) -> bool:
        """Withdraw such a request; False if there is none that waits. What is due by its schedule as well stays due."""
        if not self._due.withdraw(self._cron_jobs.paths()[watchlist]):
            return False
        outcome = f"{who} withdrew it on {datetime.now(UTC):%Y-%m-%d %H:%M}"
        with self._ledger() as ledger:
            was_there = settle_run_request(ledger, watchlist, RequestState.WITHDRAWN, outcome)
        if was_there:
            log_of(watchlist).info(f"{who} withdrew the request to run it now")
        return was_there

    def _begin(self, path: str) -> None:
        """A watchlist was taken to be run, for whatever reason."""
        name = next((name for name, place in self._cron_jobs.paths().items() if place == path), None)
        try:
            if name in self.waiting():
                with self._ledger() as ledger:
                    settle_run_request(ledger, name, RequestState.DONE)
        except Exception as error:  # it is run all the same, and after a restart perhaps once more
            log_of(name or path).error(f"the request to run it now: {failure_reason(error)}")

    @contextmanager
    def _ledger(self) -> Iterator[Ledger]:
        ledger = Ledger(self._home.ledger)
        try:
            yield ledger
        finally:
            ledger.close()

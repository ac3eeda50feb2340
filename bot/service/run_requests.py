"""Runs that people ask for on the page: in the ledger until a cycle begins."""

from __future__ import annotations

from contextlib import closing

from bot.home import Home
from bot.ledger.ledger import Ledger
from bot.ledger.run_requests import RunRequest, make_run_request, runs_asked_for, withdraw_run_request
from bot.service.log import log_of
from bot.service.scheduler import CronJobs, DueWatchlists


class RunRequests:
    """The runs that people asked for of a schedule's watchlists."""

    def __init__(self, home: Home, cron_jobs: CronJobs, due: DueWatchlists) -> None:
        self._home = home
        self._cron_jobs = cron_jobs
        self._due = due

    def waiting(self) -> dict[str, RunRequest]:
        """Watchlist → the request that waits for it."""
        if not self._home.ledger.exists():
            return {}
        with closing(Ledger(self._home.ledger)) as ledger:
            return runs_asked_for(ledger)

    def ask(self, watchlist: str, who: str) -> None:
        """Run a watchlist as soon as no other cycle runs."""
        with closing(Ledger(self._home.ledger)) as ledger:
            make_run_request(ledger, watchlist, who)
        self._due.add(self._cron_jobs.paths()[watchlist], asked=True)
        log_of(watchlist).info(f"{who} asked to run it now")

    def withdraw(self, watchlist: str, who: str) -> bool:
        """Withdraw such a request; False if there is none that waits. What is due by its schedule as well stays due."""
        if not self._due.withdraw(self._cron_jobs.paths()[watchlist]):
            return False
        with closing(Ledger(self._home.ledger)) as ledger:
            was_there = withdraw_run_request(ledger, watchlist, who)
        if was_there:
            log_of(watchlist).info(f"{who} withdrew the request to run it now")
        return was_there

"""What a person can do on the page: decide on releases, run a watchlist now, pause its schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bot.errors import ShoalError
from bot.home import Home
from bot.ledger.decisions import cycle_decisions
from bot.ledger.ledger import Ledger
from bot.ledger.requests import RequestKind, RequestState, make_requests, withdraw_request
from bot.release.folder import edited_files
from bot.release.review import is_waiting
from bot.service.facts.standing import ScheduleSnapshot
from bot.service.page.views import NotFoundError
from bot.service.retries import Retries
from bot.service.run_requests import RunRequests
from bot.service.scheduler import CronJobs, DueWatchlists


class ConflictError(ShoalError):
    """What is asked for does not fit what is there now."""


@dataclass(frozen=True)
class ScheduleControls:
    """What the schedule of this process can be told, by a watchlist's name, and what it is about to do.

    run_now, withdraw_run: are also told who asks; the second says whether there was something to withdraw.
    """

    snapshot: Callable[[], ScheduleSnapshot]
    run_now: Callable[[str, str], None]
    withdraw_run: Callable[[str, str], bool]
    pause: Callable[[str], None]
    resume: Callable[[str], None]


def schedule_controls(home: Home, cron_jobs: CronJobs, due: DueWatchlists, retries: Retries) -> ScheduleControls:
    """The controls of a home's running schedule."""
    runs = RunRequests(home, cron_jobs, due)

    def take_snapshot() -> ScheduleSnapshot:
        names = {path: name for name, path in cron_jobs.paths().items()}
        return ScheduleSnapshot(
            names=frozenset(names.values()),
            paused=cron_jobs.paused(),
            waiting=tuple(names[path] for path in due.waiting() if path in names),
            retries={names[str(path)]: one.at for path, one in retries.planned().items() if str(path) in names},
            asked=runs.waiting(),
        )

    return ScheduleControls(
        snapshot=take_snapshot,
        run_now=runs.ask,
        withdraw_run=runs.withdraw,
        pause=cron_jobs.pause,
        resume=cron_jobs.resume,
    )


class Controls:
    """Takes what people ask for. schedule: None where this process has none."""

    def __init__(self, home: Home, schedule: ScheduleControls | None) -> None:
        self._home = home
        self.schedule = schedule

    def ask(
        self,
        kind: RequestKind,
        cycle: str,
        role: str | None,
        who: str,
        *,
        note: str = "",
        edits: str = "",
        over_changes: bool = False,
    ) -> None:
        """Ask for a release to be published or rejected; role None: all that wait as they were written.

        edits, over_changes: as of a `ReviewRequest`.

        NotFoundError or ConflictError if there is none of that name, or none that waits.
        """
        ledger = Ledger(self._home.ledger)
        try:
            releases, decisions = ledger.releases(cycle), cycle_decisions(ledger, cycle)
            named = [one for one in releases if role in (None, one.role)]
            if not named:
                raise NotFoundError(f"cycle {cycle}: has no release {role or ''}".rstrip())
            roles = [one.role for one in named if is_waiting(one, decisions)]
            if not roles:
                raise ConflictError(f"{cycle}, {role or 'all releases'}: decided on already")
            if role is None:
                files = {one.role: one.files for one in named}
                roles = [one for one in roles if not edited_files(self._home.release(cycle, one), files[one])]
            if not roles:
                raise ConflictError(f"{cycle}: every release that waits was edited; publish each by itself")
            make_requests(ledger, kind, cycle, roles, note=note, who=who, edits=edits, over_changes=over_changes)
        finally:
            ledger.close()

    def withdraw(self, request: int, who: str) -> str:
        """Withdraw a request; returns the id of its cycle.

        NotFoundError if there is none of that number, ConflictError if it does not wait any more.
        """
        ledger = Ledger(self._home.ledger)
        try:
            found = withdraw_request(ledger, request, who)
        finally:
            ledger.close()
        if found is None:
            raise NotFoundError(f"there is no request {request}")
        if found.state is not RequestState.WITHDRAWN:
            raise ConflictError(f"{found.cycle}, {found.role}: it is too late, the request is {found.state}")
        return found.cycle

    def tell_schedule(self, watchlist: str, order: str, who: str) -> None:
        """`run`, `withdraw` (the request to run), `pause` or `resume` a watchlist.

        NotFoundError if this process does not schedule it, ConflictError if there is nothing to withdraw.
        """
        schedule = self.schedule
        if schedule is None or watchlist not in schedule.snapshot().names:
            raise NotFoundError(f"{watchlist[:60]}: is not a watchlist of this service")
        match order:
            case "run":
                schedule.run_now(watchlist, who)
            case "withdraw":
                if not schedule.withdraw_run(watchlist, who):
                    raise ConflictError(f"{watchlist}: it is too late, no request to run it waits")
            case "pause":
                schedule.pause(watchlist)
            case "resume":
                schedule.resume(watchlist)
            case _:
                raise NotFoundError(f"{order[:60]}: is nothing that a schedule can do")

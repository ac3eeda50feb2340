"""The watchlists that calls of the Hub have woken, until a cycle has begun after the last call.

They are kept in the ledger, so that neither a restart nor a crash loses one. A watchlist is run a minute after the last
of several calls, because a model is often uploaded in many commits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Lock

from bot.home import Home
from bot.ledger.ledger import Ledger
from bot.ledger.webhook_calls import (
    Wake,
    WebhookCall,
    drop_wake,
    find_call,
    keep_wake,
    kept_wakes,
    known_repos,
    newest_number,
    record_call,
    released_repos,
)
from bot.service.webhooks.event import HubChange
from bot.service.webhooks.matching import reason_to_ignore, reason_to_wake
from bot.watchlist.watchlist import Watchlist

QUIET, LONGEST_QUIET = timedelta(minutes=1), timedelta(minutes=10)
"""A woken watchlist runs this long after the last call about it, or after the first, if calls do not end."""


@dataclass(frozen=True)
class Wakening:
    """What a call led to. watchlists: the names of those that it woke; is_new: False for one that came before."""

    decision: str
    watchlists: tuple[str, ...]
    is_new: bool = True


def due_at(wake: Wake, quiet: timedelta = QUIET) -> datetime:
    """When a woken watchlist is to run."""
    return min(wake.last + quiet, wake.first + LONGEST_QUIET)


class Wakes:
    """The woken watchlists of a home. Calls come in one thread, cycles run in another."""

    def __init__(
        self,
        home: Home,
        watchlists: Collection[Watchlist],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        quiet: timedelta = QUIET,
    ) -> None:
        self._home = home
        self._clock = clock
        self._quiet = quiet
        self._lock = Lock()
        self._handed: set[str] = set()
        self._waiting = self._read() if home.ledger.exists() else {}
        self.follow(watchlists)

    def follow(self, watchlists: Collection[Watchlist]) -> None:
        """Wake these watchlists from now on, as they are now."""
        self._watchlists: Mapping[str, Watchlist] = {one.name: one for one in watchlists}

    def take_call(self, change: HubChange) -> Wakening:
        """Decide on a change, and remember both."""
        with self._lock, closing(Ledger(self._home.ledger)) as ledger:
            if (known := find_call(ledger, change.key)) is not None:
                return Wakening(f"known since {known.received:%Y-%m-%d %H:%M} UTC", (), is_new=False)
            ignored, reasons = reason_to_ignore(change, released_repos(ledger)), dict[str, str]()
            if ignored is None:
                for name, watchlist in self._watchlists.items():
                    if reason := reason_to_wake(watchlist, known_repos(ledger, name), change):
                        reasons[name] = reason
            decision = ignored or "; ".join(f"wakes {name} ({reason})" for name, reason in reasons.items())
            decision = decision or "concerns no watchlist"
            now = self._clock()
            wakes = [self._wake(name, change.describe(), now) for name in reasons]
            record_call(ledger, WebhookCall(change.key, now, change.describe(), decision), wakes)
            self._waiting |= {wake.watchlist: wake for wake in wakes}
            self._handed -= reasons.keys()
            return Wakening(decision, tuple(reasons))

    def take_due(self, paused: Callable[[], Collection[str]]) -> tuple[Wake, ...]:
        """Take the woken watchlists whose time has come. Paused ones wait until they are resumed."""
        with self._lock:
            now = self._clock()
            due = [wake for name, wake in self._waiting.items() if name in self._watchlists and self._is_due(wake, now)]
            if due:
                stopped = set(paused())
                due = [wake for wake in due if wake.watchlist not in stopped]
            self._handed |= {wake.watchlist for wake in due}
            return tuple(sorted(due, key=lambda wake: wake.first))

    def begin(self, watchlist: str) -> None:
        """A cycle of a watchlist runs now, for whatever reason; it answers the calls that have come."""
        with self._lock:
            wake = self._waiting.get(watchlist)
            if wake is not None and wake.newest_cycle is None:
                with closing(Ledger(self._home.ledger)) as ledger:
                    self._keep(ledger, replace(wake, newest_cycle=newest_number(ledger, watchlist)))

    def end(self, watchlist: str) -> None:
        """The cycle has ended well. One that was only resumed looked for models before the calls: another one is due.

        A cycle that failed does not end here; its next try does.
        """
        with self._lock:
            wake = self._waiting.get(watchlist)
            if wake is None or wake.newest_cycle is None:  # a further call came meanwhile
                return
            with closing(Ledger(self._home.ledger)) as ledger:
                if newest_number(ledger, watchlist) > wake.newest_cycle:
                    drop_wake(ledger, watchlist)
                    del self._waiting[watchlist]
                else:
                    self._keep(ledger, replace(wake, newest_cycle=None))
            self._handed.discard(watchlist)

    def _is_due(self, wake: Wake, now: datetime) -> bool:
        # A clock that was put back must not hold a watchlist up.
        return wake.watchlist not in self._handed and (now >= due_at(wake, self._quiet) or now < wake.last)

    def _wake(self, name: str, cause: str, now: datetime) -> Wake:
        earlier = self._waiting.get(name)
        waits = earlier is not None and earlier.newest_cycle is None and name not in self._handed
        return Wake(name, cause, earlier.first if earlier is not None and waits else now, now)

    def _keep(self, ledger: Ledger, wake: Wake) -> None:
        keep_wake(ledger, wake)
        self._waiting[wake.watchlist] = wake

    def _read(self) -> dict[str, Wake]:
        """Those that waited when the last process ended. A cycle that had begun for one is resumed anyway."""
        with closing(Ledger(self._home.ledger)) as ledger:
            kept = {}
            for wake in kept_wakes(ledger):
                if wake.newest_cycle is not None and newest_number(ledger, wake.watchlist) > wake.newest_cycle:
                    drop_wake(ledger, wake.watchlist)
                else:
                    kept[wake.watchlist] = replace(wake, newest_cycle=None)
            return kept

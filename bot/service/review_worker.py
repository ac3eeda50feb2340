"""Carries out the decisions that people ask for on the page, one at a time, whenever no cycle holds the home.

It also looks up what they did on the Hub with pull requests.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from bot.cycle.past.pull_requests import settle_pull_requests
from bot.cycle.past.review import publish_releases, reject_releases
from bot.errors import EXPECTED, ShoalError, failure_reason
from bot.home import Home
from bot.hub.client import Hub
from bot.ledger.decisions import ReviewVerdict, cycle_decisions
from bot.ledger.ledger import Ledger
from bot.ledger.pull_requests import cycles_with_pull_requests
from bot.ledger.requests import RequestKind, ReviewRequest, begin_request, has_requests, settle_request
from bot.lock import HomeIsBusyError, hold_home
from bot.progress import Narrator
from bot.release.folder import digest_edits, edited_files, is_editable

_LOGGER = logging.getLogger("shoal.serve")

LOOK_SECONDS, LOOK_UP_SECONDS = 2.0, 60.0
"""Seconds between looks for a request, or for the end of the cycle that holds the home; and between questions to the
Hub about pull requests that are open, or were closed lately."""


class ReviewWorker:
    """Works off the ledger's requests. Killed at any point, it goes on with the request that it was at."""

    def __init__(
        self, home: Home, hub_of: Callable[[str], Hub], narrator: Narrator, save: Callable[[], None] = lambda: None
    ) -> None:
        """hub_of: the Hub that a cycle ran on, by the cycle's id. save: keeps the home's state elsewhere."""
        self._home = home
        self._hub_of = hub_of
        self._narrator = narrator
        self._save = save
        self._faults: list[str] = []

    def work_off(self) -> bool:
        """Carry out one request, if there is one and the home is free; returns whether there may be more."""
        if not self._home.ledger.exists():
            return False
        ledger = Ledger(self._home.ledger)
        try:
            if not has_requests(ledger):
                return False
            with hold_home(self._home):
                # None: another process may have carried it out meanwhile, or somebody withdrew it.
                request = begin_request(ledger)
                if request is not None:
                    settle_request(ledger, request, self._carry_out(ledger, request))
            return request is not None
        except HomeIsBusyError:
            return False
        finally:
            ledger.close()

    def look_up_pull_requests(self) -> None:
        """Take over what people did with pull requests on the Hub, if there are any and the home is free."""
        if not self._home.ledger.exists():
            return
        ledger = Ledger(self._home.ledger)
        faults: list[str] = []
        try:
            for cycle in cycles_with_pull_requests(ledger, datetime.now(UTC)):
                with hold_home(self._home):
                    faults += self._settle_cycle(ledger, cycle)
        except HomeIsBusyError:
            return
        finally:
            ledger.close()
        for fault in faults:
            if fault not in self._faults:  # said once, not every minute
                self._narrator.say(f"warning: {fault}")
        self._faults = faults

    def _settle_cycle(self, ledger: Ledger, cycle: str) -> tuple[str, ...]:
        """Settle a cycle's pull requests; returns a line about each that cannot be, or why none of them can be."""
        try:
            return settle_pull_requests(ledger, self._home, self._hub_of(cycle), cycle, self._narrator)
        except Exception as error:  # a bug, too, must not keep the other cycles from being looked up
            fault = f"{cycle}: its pull requests cannot be looked up: {failure_reason(error)}"
            if not isinstance(error, EXPECTED) and fault not in self._faults:
                _LOGGER.exception("reviews: a look-up failed")
            return (fault,)

    def _carry_out(self, ledger: Ledger, request: ReviewRequest) -> str | None:
        """Do what a request asks; returns why it failed, None if it did not."""
        try:
            hub = self._hub_of(request.cycle)
            try:
                self._decide(ledger, hub, request)
            finally:  # what somebody closed meanwhile is taken over now, and what is decided on is closed
                for fault in settle_pull_requests(ledger, self._home, hub, request.cycle, self._narrator):
                    self._narrator.say(f"warning: {fault}")
        except Exception as error:  # a bug, too, settles its request: tried again for ever, it would hold up the others
            self._narrator.say(f"{request.cycle}, {request.role}: {request.kind} failed: {failure_reason(error)}")
            if not isinstance(error, EXPECTED):
                _LOGGER.exception("reviews: a request failed")
            return failure_reason(error)
        return None

    def _decide(self, ledger: Ledger, hub: Hub, request: ReviewRequest) -> None:
        """Publish or reject the release that a request names."""
        cycle, names, narrator, who = request.cycle, [request.role], self._narrator, request.who
        if request.kind is RequestKind.PUBLISH:
            _check_not_rejected(ledger, request)
            _check_card_was_seen(ledger, self._home, request)
            publish_releases(
                ledger, self._home, hub, cycle, names, narrator,
                edited=bool(request.edits), over_changes=request.over_changes, who=who, save=self._save,
            )  # fmt: skip
        else:
            reject_releases(ledger, self._home, hub, cycle, names, request.note, narrator, who=who)


def _check_not_rejected(ledger: Ledger, request: ReviewRequest) -> None:
    """ShoalError if a release was rejected since it was asked for: whoever names one publishes it even then."""
    decision = cycle_decisions(ledger, request.cycle).get(request.role)
    if decision is not None and decision.verdict is ReviewVerdict.REJECTED:
        again = f"`shoal publish {request.cycle} {request.role}`"
        raise ShoalError(f"meanwhile {decision.describe()}; {again} publishes it all the same")


def _check_card_was_seen(ledger: Ledger, home: Home, request: ReviewRequest) -> None:
    """ShoalError if a card or picture was edited that whoever asked has not ticked, or has seen otherwise."""
    folder = home.release(request.cycle, request.role)
    for release in (one for one in ledger.releases(request.cycle) if one.role == request.role):
        for name in filter(is_editable, edited_files(folder, release.files)):
            if not request.edits:
                raise ShoalError(f"{name}: edited since it was written; look at it, then tick that to publish it so")
            if request.edits != digest_edits(folder, release.files):
                raise ShoalError(f"{name}: edited after this was asked for; look at it, then ask again")


@contextmanager
def review_worker_in_thread(worker: ReviewWorker) -> Iterator[None]:
    """Work off requests in a thread while the block runs."""
    stopped = threading.Event()

    def run() -> None:
        told, looked_up = "", -LOOK_UP_SECONDS
        while not stopped.is_set():
            busy, fault = False, ""
            try:
                busy = worker.work_off()
                if not busy and time.monotonic() - looked_up >= LOOK_UP_SECONDS:
                    looked_up = time.monotonic()
                    worker.look_up_pull_requests()
            except Exception as error:  # the ledger cannot be used now; that must not end the thread
                fault = failure_reason(error)
                if fault != told:
                    _LOGGER.error(f"reviews: {fault}", exc_info=not isinstance(error, EXPECTED))
            told = fault
            if not busy:
                stopped.wait(LOOK_SECONDS)

    # A daemon: an upload that hangs must not keep the process from ending. Its request waits for the next start.
    thread = threading.Thread(target=run, name="reviews", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(LOOK_SECONDS)

"""Notifies people of the ends of cycles, as each watchlist asks for."""

from __future__ import annotations

from collections.abc import Callable

from bot.errors import ShoalError, failure_reason
from bot.home import Home
from bot.hub.client import Hub
from bot.ledger.ledger import Ledger
from bot.release.hints import shoal_command
from bot.service.notifications.addresses import Address
from bot.service.notifications.messages import CycleEnd, event_of, render_message
from bot.service.notifications.send import send_message
from bot.watchlist.watchlist import Watchlist

Log = Callable[[str], None]


class Notifier:
    """Sends messages to the addresses of this machine. A failure repeated by retries is told once."""

    def __init__(
        self, addresses: tuple[Address, ...], home: Home, hub: Hub, on_lost: Callable[[], None] = lambda: None
    ) -> None:
        """on_lost: called for each message that did not arrive."""
        self._addresses = addresses
        self._home = home
        self._hub = hub
        self._on_lost = on_lost
        self._failures: dict[str, str] = {}

    def run(self, watchlist: Watchlist, run_cycle: Callable[[], str], log: Log) -> str:
        """Run a cycle and tell of its end or its failure; returns its id.

        log: called with a line for each address that could not be reached.
        """
        try:
            cycle = run_cycle()
        except Exception as error:
            self._tell_failure(watchlist, failure_reason(error), log)
            raise
        self._tell_end(watchlist, cycle, log)
        return cycle

    def _tell_end(self, watchlist: Watchlist, cycle_id: str, log: Log) -> None:
        self._failures.pop(watchlist.name, None)
        try:
            ledger = Ledger(self._home.ledger)
            cycle, releases = ledger.cycle(cycle_id), tuple(ledger.releases(cycle_id))
            ledger.close()
        except ShoalError as error:  # the cycle has ended well all the same
            log(f"nobody was notified: {error}")
            return
        if (event := event_of(cycle)) is not None:
            commands = (self._command("show", cycle_id),)
            end = CycleEnd(watchlist.name, event, cycle_id, cycle.note, releases, self._hub.endpoint, commands)
            self._send(watchlist, end, log)

    def _tell_failure(self, watchlist: Watchlist, reason: str, log: Log) -> None:
        """Tell of a failure, unless the last message about the watchlist gave the same reason."""
        if self._failures.get(watchlist.name) != reason:
            self._failures[watchlist.name] = reason
            end = CycleEnd(watchlist.name, "failed", None, reason, commands=(self._command("status"),))
            self._send(watchlist, end, log)

    def _send(self, watchlist: Watchlist, end: CycleEnd, log: Log) -> None:
        if end.event in watchlist.notify.events and self._addresses:
            for delivery in send_message(self._addresses, render_message(end)):
                if delivery.fault is not None:
                    self._on_lost()
                    log(f"the notification did not reach {delivery.address}: {delivery.fault}")

    def _command(self, *words: str) -> str:
        return shoal_command(*words, home=self._home, hub=self._hub)

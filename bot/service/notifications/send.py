"""Sends messages through apprise, in threads with a time limit: a slow chat server must not hold up the bot."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bot.service.notifications.addresses import Address
from bot.service.notifications.messages import Message

TIME_LIMIT = 30.0
"""Seconds for one message to all addresses. Each connection has a shorter limit of apprise's own."""


@dataclass(frozen=True)
class Delivery:
    """What became of a message at one address. address: its name without secrets. fault: None if it arrived."""

    address: str
    fault: str | None


def send_message(addresses: Sequence[Address], message: Message, seconds: float = TIME_LIMIT) -> tuple[Delivery, ...]:
    """Send a message to every address at once; returns after `seconds` at the latest. Nothing is raised."""
    faults: dict[int, str | None] = {}
    warnings = _LastWarnings()

    def deliver(index: int) -> None:
        faults[index] = _deliver(addresses[index], message, warnings)

    # Daemons, so that one that still waits for an answer does not keep the process from ending.
    threads = [threading.Thread(target=deliver, args=(index,), daemon=True) for index in range(len(addresses))]
    logger = logging.getLogger("apprise")
    # Heard here whatever the level of the service's log, and only here: its texts may hold parts of addresses.
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    logger.addHandler(warnings)
    try:
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + seconds
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
    finally:
        logger.removeHandler(warnings)
    late = f"no answer within {seconds:g} seconds"
    return tuple(Delivery(address.name, faults.get(index, late)) for index, address in enumerate(addresses))


class _LastWarnings(logging.Handler):
    """The newest warning of each thread: apprise returns no reason, it only logs it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._texts: dict[int, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record's text."""
        self._texts[record.thread or 0] = record.getMessage()

    def of_this_thread(self) -> str | None:
        """The calling thread's newest warning."""
        return self._texts.get(threading.get_ident())


def _deliver(address: Address, message: Message, warnings: _LastWarnings) -> str | None:
    try:
        arrived = address.service.notify(title=message.title, body=message.body)
    except Exception as error:  # a plugin's own fault is one more way not to arrive
        return f"apprise failed with {type(error).__name__}"
    return None if arrived else " ".join((warnings.of_this_thread() or "it was not accepted").split())

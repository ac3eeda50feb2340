"""Slows down who guesses passwords or codes of logins, each client for itself."""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Callable

TRIES, TRIES_SECONDS = 5, 60.0
"""Wrong guesses of one client that are looked at within so many seconds."""

ALL_TRIES = 100
"""Wrong guesses of all clients within these seconds: a password costs a tenth of a second. Clients that have logged in
before are not counted out by it."""

MOST_KNOWN = 1000
"""Clients that have logged in which are remembered; the oldest goes first."""


class Attempts:
    """The wrong guesses of the last minute, by client."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._wrong: deque[tuple[float, str]] = deque()
        self._known: dict[str, None] = {}

    def seconds_to_wait(self, address: str) -> float:
        """Seconds until a client's next guess is looked at; 0 if it is now."""
        now, client = self._clock(), _client_of(address)
        while self._wrong and self._wrong[0][0] <= now - TRIES_SECONDS:
            self._wrong.popleft()
        own = [moment for moment, one in self._wrong if one == client]
        waits = [own[-TRIES] + TRIES_SECONDS - now] if len(own) >= TRIES else []
        if len(self._wrong) >= ALL_TRIES and client not in self._known:
            waits.append(self._wrong[-ALL_TRIES][0] + TRIES_SECONDS - now)
        return max(waits, default=0.0)

    def fail(self, address: str) -> None:
        """Count a wrong guess."""
        self._wrong.append((self._clock(), _client_of(address)))

    def succeed(self, address: str) -> None:
        """Remember a client that has logged in."""
        client = _client_of(address)
        self._known.pop(client, None)
        self._known[client] = None
        while len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]


def _client_of(address: str) -> str:
    """The address; of IPv6 the network of 64 bits, for whoever has one address there has all of them."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed.packed, 64), strict=False))

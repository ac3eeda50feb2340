"""Takes the Hub's calls: who may call, how often and how much, and what is answered. Nothing here speaks HTTP."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from bot.errors import EXPECTED, failure_reason
from bot.service.log import WatchlistLog
from bot.service.webhooks.event import MalformedCallError, parse_call
from bot.service.webhooks.wakes import Wakes

MOST_BODY_BYTES = 256 * 1024
"""The Hub's payloads are a few KB; the longest holds a comment of 64 KB."""

BURST, REFILL_SECONDS = 60, 1.0
"""Calls that are taken at once, and seconds until there is room for another. The Hub makes at most 1,000 a day."""


@dataclass(frozen=True)
class CallAnswer:
    """The answer to a call: HTTP's status, what was decided, and the watchlists that it woke."""

    status: int
    decision: str
    watchlists: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return {"decision": self.decision, "watchlists": list(self.watchlists)}


class Allowance:
    """Room for a number of calls at once, which fills up again with time (a token bucket)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._room, self._looked = float(BURST), clock()

    def take(self) -> bool:
        """Take the room for one call, if there is any."""
        now = self._clock()
        self._room = min(BURST, self._room + (now - self._looked) / REFILL_SECONDS)
        self._looked = now
        if self._room < 1:
            return False
        self._room -= 1
        return True


class Receiver:
    """Answers calls, and logs a line for each.

    Calls with the secret and others have allowances of their own: a flood of forged calls keeps no genuine one out.
    What is beyond its allowance is refused before its body is read, and logged only by its number.
    """

    def __init__(
        self, secret: str, wakes: Wakes, log: WatchlistLog, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._secret = secret.encode("ascii")
        self._wakes = wakes
        self._log = log
        self._genuine, self._forged = Allowance(clock), Allowance(clock)
        self._silent = 0

    def refuse(self, secret: str | None, content_type: str, length: str | None, caller: str) -> CallAnswer | None:
        """Why a call is refused by its head alone; None if its body is to be read.

        secret, content_type, length: of its headers. caller: its address, for the log.
        """
        is_genuine = secret is not None and hmac.compare_digest(secret.encode("latin-1", "replace"), self._secret)
        if not (self._genuine if is_genuine else self._forged).take():
            self._silent += 1
            if self._silent == 1:
                self._log.warning(
                    f"too many calls, from {caller} and perhaps others: refused (429), without more lines"
                )
            return CallAnswer(429, "too many calls; wait a minute")
        if self._silent:
            self._log.warning(f"{self._silent:,} calls were refused, because there were too many")
            self._silent = 0
        if not is_genuine:
            status, why = (401, "no secret") if secret is None else (403, "a wrong secret")
            return self._refused(CallAnswer(status, f"the call has {why}"), caller)
        if content_type.partition(";")[0].strip().lower() != "application/json":
            return self._refused(CallAnswer(415, "the call's content type is not application/json"), caller)
        if length is not None and not (length.isascii() and length.isdigit() and int(length) <= MOST_BODY_BYTES):
            return self.refuse_body(caller)
        return None

    def refuse_body(self, caller: str) -> CallAnswer:
        """The answer to a body that is too large."""
        return self._refused(CallAnswer(413, f"the call has more than {MOST_BODY_BYTES:,} bytes"), caller)

    def refuse_slow(self, caller: str) -> CallAnswer:
        """The answer to a body that does not come."""
        return self._refused(CallAnswer(408, "the call's body did not come in time"), caller)

    def receive(self, body: bytes, caller: str) -> CallAnswer:
        """Decide on a call: 202 if it woke a watchlist, 200 if not, 400 if it cannot be read."""
        try:
            change = parse_call(body)
        except MalformedCallError as error:
            return self._refused(CallAnswer(400, str(error)), caller)
        try:
            woken = self._wakes.take_call(change)
        except Exception as error:  # the ledger cannot be written now, or a bug: the service lives on
            self._log.error(f"{change.describe()}: {failure_reason(error)}", exc_info=not isinstance(error, EXPECTED))
            return CallAnswer(503, "the call could not be recorded; send it again later")
        self._log.log(logging.INFO, f"{change.describe()}: {woken.decision}")
        return CallAnswer(202 if woken.watchlists else 200, woken.decision, woken.watchlists)

    def _refused(self, answer: CallAnswer, caller: str) -> CallAnswer:
        self._log.warning(f"refused ({answer.status}) from {caller}: {answer.decision}")
        return answer

"""Calls webhooks, one after the other in the background: nobody who commits waits for whoever is told of it."""

from __future__ import annotations

import json
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from pydantic import JsonValue

from localhub.webhooks.kept import Webhook, Webhooks

VERSION = 3
"""The version of the payloads."""

CALL_SECONDS = 5.0
KEPT_DELIVERIES = 1000


@dataclass(frozen=True)
class HubEvent:
    """Something that happened in a repo. payload: what webhooks are sent, without their own part."""

    repo: str
    private: bool
    scope: str
    payload: dict[str, JsonValue]


@dataclass(frozen=True)
class MadeCall:
    """A call that was made. status: of the answer; None where there was none, with the reason in `fault`."""

    webhook: str
    body: bytes
    status: int | None
    fault: str = ""


class Deliveries:
    """Sends events to the webhooks that watch their repos.

    may_see: whether a user may know of a private repo. made: the newest calls, as the Hub's activity page lists them.
    """

    def __init__(self, webhooks: Webhooks, may_see: Callable[[str, str], bool], seconds: float = CALL_SECONDS) -> None:
        self.webhooks = webhooks
        self.made: deque[MadeCall] = deque(maxlen=KEPT_DELIVERIES)
        self._may_see = may_see
        self._seconds = seconds
        self._waiting: queue.SimpleQueue[tuple[Webhook, bytes]] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def send(self, event: HubEvent) -> None:
        """Let every webhook that watches the event's repo be called; returns at once."""
        for webhook in self.webhooks.all():
            seen = not event.private or self._may_see(webhook.user, event.repo)
            if seen and webhook.wants(event.repo, event.scope):
                own: JsonValue = {"id": webhook.id, "version": VERSION}
                self._waiting.put((webhook, json.dumps({**event.payload, "webhook": own}).encode()))
                self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="webhooks", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            webhook, body = self._waiting.get()
            self.made.append(call_webhook(webhook, body, self._seconds))


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """A secret goes to the address that its owner named, and to no other."""


def call_webhook(webhook: Webhook, body: bytes, seconds: float = CALL_SECONDS) -> MadeCall:
    """POST a payload to a webhook with its secret, as the Hub does: verbatim, in a header."""
    headers = {"Content-Type": "application/json", "User-Agent": "localhub"}
    if webhook.secret is not None:
        headers["X-Webhook-Secret"] = webhook.secret
    opener = build_opener(ProxyHandler({}), _NoRedirects)
    try:
        with opener.open(Request(webhook.url, body, headers, method="POST"), timeout=seconds) as answer:
            return MadeCall(webhook.id, body, answer.status)
    except HTTPError as error:
        return MadeCall(webhook.id, body, error.code)
    except (OSError, HTTPException, ValueError) as error:
        return MadeCall(webhook.id, body, None, str(error))

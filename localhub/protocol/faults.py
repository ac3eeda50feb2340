"""Faults on purpose, for tests: refusals, streams that break off, slow answers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass
class Fault:
    """A fault for requests of `method` ("*" for any) whose path matches the shell pattern `path`.

    times, skip: it strikes `times` times, after it has let `skip` matching requests through.
    status, headers, body: the status to answer, headers that go with it, and the body, if it is to be another than
    that of an error.
    drop_after: the connection is closed after that many bytes of the body.
    delay: seconds to wait before anything else.
    struck: how often it has struck.
    """

    method: str
    path: str
    times: int = 1
    skip: int = 0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    drop_after: int | None = None
    delay: float = 0.0
    struck: int = field(default=0, init=False)

    def strikes(self, method: str, path: str) -> bool:
        """Whether this request is hit; counts it if it matches."""
        if self.method not in ("*", method) or not fnmatchcase(path, self.path) or self.struck >= self.times:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.struck += 1
        return True


class Faults:
    """The armed faults of a server under test, and the requests that it has seen."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._seen: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """Arm a fault; returns it, so that a test can look at how often it `struck`."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def busy(self, path: str, *, method: str = "*", times: int = 1, skip: int = 0, reset: int = 0) -> Fault:
        """Answer 429 as the real Hub does: nothing is left of a window that ends in `reset` seconds."""
        headers = {"RateLimit": f'"api";r=0;t={reset}', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
        return self.add(Fault(method, path, times=times, skip=skip, status=429, headers=headers))

    def refuse(self, path: str, status: int, *, method: str = "*", times: int = 1, skip: int = 0) -> Fault:
        """Answer a status."""
        return self.add(Fault(method, path, times=times, skip=skip, status=status))

    def unavailable(self, path: str, *, method: str = "*", times: int = 1, skip: int = 0) -> Fault:
        """Answer 503."""
        return self.add(Fault(method, path, times=times, skip=skip, status=503))

    def drop(self, path: str, *, after: int, method: str = "GET", times: int = 1, skip: int = 0) -> Fault:
        """Break the connection after `after` bytes of the body."""
        return self.add(Fault(method, path, times=times, skip=skip, drop_after=after))

    def slow(self, path: str, *, delay: float, method: str = "*", times: int = 1, skip: int = 0) -> Fault:
        """Answer `delay` seconds late."""
        return self.add(Fault(method, path, times=times, skip=skip, delay=delay))

    def clear(self) -> None:
        """Disarm all faults and forget the requests seen."""
        with self._lock:
            self._faults.clear()
            self._seen.clear()

    @property
    def seen(self) -> list[tuple[str, str]]:
        """Method and path of each request so far, in order."""
        with self._lock:
            return list(self._seen)

    def next_for(self, method: str, path: str) -> Fault | None:
        """The first armed fault that strikes this request; the request counts as seen."""
        with self._lock:
            self._seen.append((method, path))
            return next((fault for fault in self._faults if fault.strikes(method, path)), None)


class InjectFaults:
    """Middleware that lets `faults` strike."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._faults.next_for(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
            return
        await asyncio.sleep(fault.delay)
        if fault.status is not None:
            await _send_answer(fault.status, fault.headers, fault.body, send)
        else:
            await self._app(scope, receive, send if fault.drop_after is None else _break_after(send, fault.drop_after))


def _break_after(send: Send, left: int) -> Send:
    """A `send` that goes silent after `left` bytes of body, so that the server closes the unfinished connection."""

    async def send_some(message: Message) -> None:
        nonlocal left
        if message["type"] == "http.response.body":
            body = message.get("body", b"")[:left]
            left -= len(body)
            if not body:
                return
            message = {"type": "http.response.body", "body": body, "more_body": True}
        await send(message)

    return send_some


async def _send_answer(status: int, headers: Mapping[str, str], body: bytes | None, send: Send) -> None:
    body = json.dumps({"error": f"Answered on purpose with {status}"}).encode() if body is None else body
    sent = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in sent.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})

"""Connections of the page: those that ask for nothing, or do not read what they asked for, are closed.

Without this, whoever reaches the page could hold all the files open that a process may have, and stop the search.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 400
"""Connections at once; further ones are closed. Many systems let a process have 1,024 files open."""

REQUEST_SECONDS = 15.0
"""Seconds in which a new connection has to have sent a request, up to its body."""

STALL_SECONDS, STALL_BYTES = 20.0, 8192
"""Whoever reads less than so many bytes in so many seconds, of those that wait for it, is not waited for."""


class PageProtocol(H11Protocol):
    """uvicorn's connection, with an end to waiting."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._wait(REQUEST_SECONDS)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        if not self._is_idle() and not self.flow.write_paused:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request: its first bytes end uvicorn's own wait."""
        super().on_response_complete()
        if self._is_idle() and not self.flow.write_paused:
            self._wait(REQUEST_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to wait for a slow reader."""
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        """Go on with a reader that has caught up."""
        super().resume_writing()
        self._stop_waiting()
        if self._is_idle():
            self._wait(REQUEST_SECONDS)

    def _is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or bool(self.cycle.response_complete)

    def _await_reader(self, unread: int | None = None) -> None:
        """unread: bytes that waited when it was looked last."""
        now = self.transport.get_write_buffer_size()
        if unread is not None and now > unread - STALL_BYTES:
            self.transport.abort()
            return
        self._stop_waiting()
        self._timer = self.loop.call_later(STALL_SECONDS, self._await_reader, now)

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(seconds, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

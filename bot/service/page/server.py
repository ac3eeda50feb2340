"""Serves the page: until a signal for `shoal page`, or in a thread of `shoal serve`."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from bot.service.page.connections import PageProtocol
from bot.service.page.events import Streams

HOST = "127.0.0.1"

STOP_SECONDS, SHUTDOWN_SECONDS = 5.0, 3
"""Seconds that a stop waits for the server, and the server for its open answers: a stream takes up to one to end."""


def serve_page(app: FastAPI, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, which then has its usual effect."""
    _PageServer(app).run(sockets=[listener])


@contextmanager
def page_in_thread(app: FastAPI, listener: socket.socket) -> Iterator[None]:
    """Serve in a thread while the block runs. Signals stay with the main thread."""
    server = _PageServer(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="page", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(STOP_SECONDS)


class _PageServer(uvicorn.Server):
    """A server that ends the streams of open pages before it stops; cancelled ones would be errors in the log."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="error",
                access_log=False,
                lifespan="off",
                http=PageProtocol,
                proxy_headers=False,  # the application takes the word of those proxies alone that it is told of
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
                server_header=False,
            )
        )
        self._streams: Streams = app.state.streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop taking connections, and close those that are open."""
        self._streams.end()
        await super().shutdown(sockets)

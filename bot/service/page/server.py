"""Serves the page: until a signal for `shoal page`, or in a thread of `shoal serve`."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

HOST = "127.0.0.1"

STOP_SECONDS = 5.0


def serve_page(app: FastAPI, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, which then has its usual effect."""
    uvicorn.Server(_make_config(app)).run(sockets=[listener])


@contextmanager
def page_in_thread(app: FastAPI, listener: socket.socket) -> Iterator[None]:
    """Serve in a thread while the block runs. Signals stay with the main thread."""
    server = uvicorn.Server(_make_config(app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="page", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(STOP_SECONDS)


def _make_config(app: FastAPI) -> uvicorn.Config:
    # An open page's stream never ends by itself, so a shutdown waits only a moment for it.
    return uvicorn.Config(
        app, log_level="error", access_log=False, lifespan="off", timeout_graceful_shutdown=1, server_header=False
    )

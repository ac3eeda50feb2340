"""Running the local Hub: in a thread for tests and the demo, or until it is stopped for `shoal hub`."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from localhub.app import create_app
from localhub.protocol.access import Limits
from localhub.protocol.faults import Faults
from localhub.store.store import Store
from localhub.webhooks.deliveries import Deliveries
from localhub.xet.storage import XetStorage

START_SECONDS = 30.0
ADMIN = "admin"


@dataclass(frozen=True)
class Running:
    """A running Hub: address, store, the faults to make it misbehave, webhooks, and Xet storage if it has one."""

    endpoint: str
    store: Store
    faults: Faults
    deliveries: Deliveries
    xet: XetStorage | None = None


@contextmanager
def running(
    root: Path | str, port: int = 0, faults: Faults | None = None, *, limits: Limits | None = None, xet: bool = False
) -> Iterator[Running]:
    """A Hub on this machine's loopback, on a free port unless one is given; stopped when the block ends.

    xet: whether large files go through a Xet storage, and small ones come from a cache, as on the real Hub. One client
    process at a time can use it.
    """
    faults = faults or Faults()
    app = create_app(root, faults, limits, xet=xet)
    listener = listen("127.0.0.1", port)
    server = uvicorn.Server(_make_config(app, log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="local-hub", daemon=True)
    thread.start()
    try:
        _wait_for_start(server, thread)
        state = app.state
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield Running(endpoint, state.store, faults, state.deliveries, state.xet)
    finally:
        server.should_exit = True
        thread.join(timeout=START_SECONDS)
        listener.close()


def serve(root: Path | str, listener: socket.socket) -> None:
    """Run a Hub until SIGINT or SIGTERM, which then has its usual effect."""
    uvicorn.Server(_make_config(create_app(root), log_level="warning")).run(sockets=[listener])


def make_admin_token(root: Path | str, *, another: bool = False) -> str | None:
    """Make the user "admin", who may write to every namespace, where no account may.

    Returns a token of theirs, which is not kept in readable form: for a new admin, or if `another` is asked for;
    None otherwise.
    """
    store = Store(root)
    name = store.accounts.find_admin()
    if name is None:
        return store.add_user(ADMIN, admin=True)
    return store.accounts.add_token(name, role="write") if another else None


def listen(host: str, port: int) -> socket.socket:
    """A socket for `serve` on a host and a port (0: any free one); OSError if it is not available."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # now, so that nobody else can take the port before the server is up
    except OSError:
        listener.close()
        raise
    return listener


def _make_config(app: FastAPI, log_level: str) -> uvicorn.Config:
    return uvicorn.Config(
        app, log_level=log_level, access_log=False, lifespan="off", timeout_graceful_shutdown=2, server_header=False
    )


def _wait_for_start(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the local Hub did not start: run `shoal hub` to see its messages")
        time.sleep(0.005)

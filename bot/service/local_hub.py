"""`shoal hub`: serves a local Hub and prints how to connect to it."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from bot.errors import ShoalError
from bot.progress import Narrator
from localhub.server import first_admin, listen, serve


def serve_folder(folder: Path, host: str, port: int, narrator: Narrator) -> None:
    """Serve a folder until Ctrl-C or SIGTERM; for a folder without accounts, create one and print its token, once.

    Raises:
        ShoalError: the address or the port cannot be used.
    """
    try:
        # Before the account is created: if the port is taken, its token, which is printed only once, would be lost.
        listener = listen(host, port)
    except OSError as error:
        no_such_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        key, got = ("--host", host) if no_such_host else ("--port", port)
        raise ShoalError(f"{key}: got {got}: {error.strerror}; choose another") from error
    with listener:
        token = first_admin(folder)
        if token is not None:
            narrator.say(
                f"created the user admin, who may write to every repo; its token, shown only now: HF_TOKEN={token}"
            )
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        narrator.say(f"serving {folder}: open {address} in a browser; Ctrl-C stops it")
        narrator.say(f"for shoal: --endpoint {address}")
        narrator.say(f"for other clients: HF_ENDPOINT={address} HF_HUB_DISABLE_XET=1")
        serve(folder, listener)

"""`shoal hub`: a Hub on this machine for a person, with what they need to talk to it."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from bot.errors import ShoalError
from bot.progress import Narrator
from localhub.server import first_admin, listen, serve


def serve_folder(folder: Path, host: str, port: int, narrator: Narrator) -> None:
    """Serve a folder until Ctrl-C or SIGTERM; on a folder without accounts, make one and tell its token, once."""
    try:
        # Before the account: a token that is told by a Hub that does not come up is a token lost.
        listener = listen(host, port)
    except OSError as error:
        no_such_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        key, got = ("--host", host) if no_such_host else ("--port", port)
        raise ShoalError(f"{key}: got {got}: {error.strerror}; choose another") from error
    with listener:
        token = first_admin(folder)
        if token is not None:
            narrator.say(f"made the user admin, who may write everywhere; the token, shown this once: HF_TOKEN={token}")
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        narrator.say(f"the Hub of {folder} is up: {address} in a browser; Ctrl-C stops it")
        narrator.say(f"for shoal: --endpoint {address}")
        narrator.say(f"for other clients: HF_ENDPOINT={address} HF_HUB_DISABLE_XET=1")
        serve(folder, listener)

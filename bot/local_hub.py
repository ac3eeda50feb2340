"""`shoal hub`: a Hub on this machine for a person, with what they need to talk to it."""

from __future__ import annotations

from pathlib import Path

from bot.errors import ShoalError
from bot.progress import Narrator
from localhub.server import first_admin, serve


def serve_folder(folder: Path, host: str, port: int, narrator: Narrator) -> None:
    """Serve a folder until Ctrl-C; on a folder without accounts, make one and tell its token, once."""
    token = first_admin(folder)
    if token is not None:
        narrator.say(f"made the user admin, who may write everywhere; the token is shown this once: HF_TOKEN={token}")
    narrator.say(f"pages: http://{host}:{port}/   stop with Ctrl-C")
    narrator.say(
        f"for shoal: --endpoint http://{host}:{port}   for other clients: HF_ENDPOINT, and HF_HUB_DISABLE_XET=1"
    )
    try:
        serve(folder, host, port)
    except OSError as error:
        raise ShoalError(f"--port: got {port}: {error.strerror}; choose a free one") from error

"""`shoal hub`: serves a local Hub and prints how to connect to it."""

from __future__ import annotations

from pathlib import Path

from bot.errors import ShoalError
from bot.progress import Narrator
from bot.service.listener import open_listener
from localhub.errors import HubError
from localhub.oauth.apps import OAuthApps
from localhub.server import make_admin_token, serve


def serve_folder(
    folder: Path, host: str, port: int, narrator: Narrator, *, new_token: bool = False, oauth_app: str | None = None
) -> None:
    """Serve a folder until Ctrl-C or SIGTERM.

    A folder without an admin gets one, whose token is printed once; `new_token` makes and prints another. oauth_app:
    where a new OAuth app, which is printed, sends people back to.

    Raises:
        ShoalError: the address or the port cannot be used, or people cannot be sent back there.
    """
    # Before the account is created: if the port is taken, its token, which is printed only once, would be lost.
    with open_listener(host, port) as listener:
        app = _make_oauth_app(folder, oauth_app) if oauth_app is not None else None
        token = make_admin_token(folder, another=new_token)
        if token is not None:
            narrator.say(f"a token that may write to every namespace, shown only now: HF_TOKEN={token}")
        else:
            narrator.say("a token was shown at the first start; --new-token makes another")
        if app is not None:
            id, secret = app
            narrator.say(f"an OAuth app, shown only now: OAUTH_CLIENT_ID={id} OAUTH_CLIENT_SECRET={secret}")
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        narrator.say(f"serving {folder}: open {address} in a browser; Ctrl-C stops it")
        narrator.say(f"for shoal: --endpoint {address}")
        narrator.say(f"for other clients: HF_ENDPOINT={address} HF_HUB_DISABLE_XET=1")
        serve(folder, listener)


def _make_oauth_app(folder: Path, redirect_uri: str) -> tuple[str, str]:
    try:
        return OAuthApps(folder).add("shoal", redirect_uri)
    except HubError as error:
        raise ShoalError(f"--oauth-app: {error}") from error

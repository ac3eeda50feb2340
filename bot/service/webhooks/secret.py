"""The secret that the Hub sends with its calls: from the environment or from a private file."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping

from bot.errors import ShoalError
from bot.home import Home

SECRET_VARIABLE = "SHOAL_WEBHOOK_SECRET"

SHORTEST_SECRET, LONGEST_SECRET = 16, 256


def read_webhook_secret(home: Home, environment: Mapping[str, str] = os.environ) -> str | None:
    """The secret in SHOAL_WEBHOOK_SECRET, else that in the home's file; None if there is none.

    Raises:
        ShoalError: others can read the file, or its content is no secret that the Hub could send. It is never shown.
    """
    if given := environment.get(SECRET_VARIABLE):
        return _check(given.strip(), SECRET_VARIABLE)
    path = home.webhook_secret
    try:
        mode, content = stat.S_IMODE(path.stat().st_mode), path.read_bytes()
    except FileNotFoundError:
        return None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ShoalError(f"{path}: got mode {mode:04o}: only you may read it: chmod 600 {path}")
    return _check(content.decode("latin-1").strip(), str(path))


def make_webhook_secret(home: Home) -> str:
    """Make a secret that nobody can guess, and keep it in the home."""
    made, path = secrets.token_urlsafe(32), home.webhook_secret
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(f"{made}\n")
    return made


def _check(secret: str, place: str) -> str:
    """The secret itself, if a header can carry it and nobody guesses it."""
    plain = secret.isascii() and secret.isprintable() and " " not in secret
    if not plain or not SHORTEST_SECRET <= len(secret) <= LONGEST_SECRET:
        got = f"{len(secret)} characters" if plain else "characters that a header cannot carry"
        raise ShoalError(
            f"{place}: got {got}: a secret has {SHORTEST_SECRET} to {LONGEST_SECRET} letters, digits and signs of "
            "ASCII; delete it, and `shoal webhook register` makes one"
        )
    return secret

"""The OAuth app by which people log in with their account of the Hub: from the environment, or from a private file.

In a Space whose metadata has `hf_oauth: true`, the Hub gives it in the environment.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bot.errors import ShoalError

CLIENT_ID, CLIENT_SECRET, PROVIDER = "OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OPENID_PROVIDER_URL"
"""The names of its parts, in the environment (the Hub's own names) and in the file."""


@dataclass(frozen=True)
class OAuthApp:
    """An OAuth app of the Hub. provider: the address of the Hub where people log in, without a slash at its end."""

    id: str
    secret: str = field(repr=False)
    provider: str


def read_oauth_app(path: Path, endpoint: str, environment: Mapping[str, str] = os.environ) -> OAuthApp | None:
    """The app of the environment, else that of the file (`NAME=VALUE`, a line each); None without one.

    endpoint: the Hub, where none is named for the login.

    Raises:
        ShoalError: others can read the file, a part is missing, or the provider has no address that is safe.
    """
    place, values = "the environment", {name: environment.get(name, "") for name in (CLIENT_ID, CLIENT_SECRET)}
    if any(values.values()):
        values[PROVIDER] = environment.get(PROVIDER, "")
    else:
        place, values = str(path), _read_file(path)
        if not values:
            return None
    for name in (CLIENT_ID, CLIENT_SECRET):
        if not values.get(name):
            raise ShoalError(f"{place}: {name} is missing; {CLIENT_ID} and {CLIENT_SECRET} are set both or neither")
    provider = (values.get(PROVIDER) or endpoint).rstrip("/")
    parts = urlsplit(provider)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise ShoalError(f"{place}: {PROVIDER}: got {provider!r}: logins need an address that begins with https://")
    return OAuthApp(values[CLIENT_ID], values[CLIENT_SECRET], provider)


def _read_file(path: Path) -> dict[str, str]:
    try:
        mode, text = stat.S_IMODE(path.stat().st_mode), path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return {}
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ShoalError(f"{path}: got mode {mode:04o}: it holds a secret, so only you may read it: chmod 600 {path}")
    values = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, value = line.partition("=")
        if name.strip() not in (CLIENT_ID, CLIENT_SECRET, PROVIDER):  # never shown: it may be a secret
            raise ShoalError(f"{path}:{number}: write NAME=VALUE, with {CLIENT_ID}, {CLIENT_SECRET} or {PROVIDER}")
        values[name.strip()] = value.strip().strip("\"'")
    return values

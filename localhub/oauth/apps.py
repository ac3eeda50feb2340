"""The OAuth apps: sites where people log in with their account. Only the hashes of their secrets are kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import TypeAdapter

from localhub.errors import HubError, bad_request
from localhub.store.disk import hold_lock, read_json, write_json


@dataclass
class OAuthAppRecord:
    """An app as kept. redirect_uris: where people may be sent back to."""

    name: str
    secret: str
    redirect_uris: tuple[str, ...]


_FILE = TypeAdapter(dict[str, OAuthAppRecord])


class OAuthApps:
    """The file of apps, by their ids."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "oauth_apps.json"
        self._lock = folder / "locks" / "oauth_apps.lock"

    def add(self, name: str, *redirect_uris: str) -> tuple[str, str]:
        """Register an app; returns its id and its secret, which is not kept in readable form."""
        for uri in redirect_uris:
            if urlsplit(uri).scheme not in ("http", "https") or not urlsplit(uri).netloc:
                raise bad_request(f"Invalid redirect URI {uri!r}: it is a whole address, as in https://site/callback")
        id, secret = str(uuid.uuid4()), secrets.token_urlsafe(32)
        with hold_lock(self._lock):
            apps = self._read()
            apps[id] = OAuthAppRecord(name, _hash(secret), redirect_uris)
            write_json(self._path, apps)
        return id, secret

    def get(self, id: str) -> OAuthAppRecord:
        """An app; a 400 for an unknown id."""
        try:
            return self._read()[id]
        except KeyError:
            raise bad_request(f"There is no OAuth app {id[:80]!r}") from None

    def check_secret(self, id: str, secret: str) -> None:
        """A 401 unless it is the app's secret."""
        app = self._read().get(id)
        if app is None or not hmac.compare_digest(app.secret, _hash(secret)):
            raise HubError(401, "Invalid client credentials", body={"error": "invalid_client"})

    def _read(self) -> dict[str, OAuthAppRecord]:
        return read_json(self._path, _FILE) or {}


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()

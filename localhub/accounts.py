"""Users, organisations and access tokens. Tokens are kept as hashes only."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localhub.disk import locked, read_json, write_json
from localhub.errors import HubError, bad_request
from localhub.names import check_owner

WRITING_ROLES = frozenset({"admin", "write", "contributor"})


@dataclass(frozen=True)
class Identity:
    """Who a token speaks for. `orgs` gives the role in each organisation ("admin", "write", "contributor" or
    "read"); `may_write` is the token's own permission; an `admin` of the whole Hub may write everywhere."""

    name: str
    full_name: str
    orgs: Mapping[str, str]
    token_name: str
    may_write: bool
    admin: bool

    def reads(self, owner: str) -> bool:
        """Whether private repos of this owner are visible."""
        return self.admin or owner == self.name or owner in self.orgs

    def writes(self, owner: str) -> bool:
        """Whether repos of this owner may be created and changed."""
        return self.may_write and (self.admin or owner == self.name or self.orgs.get(owner, "read") in WRITING_ROLES)


class Accounts:
    """The file of accounts."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "accounts.json"
        self._lock = folder / "locks" / "accounts.lock"

    def add_user(self, name: str, token: str | None = None, *, full_name: str = "", admin: bool = False) -> str:
        """Make (or change) a user and give them a token that may write, made up if none is given."""
        token = token or new_token()
        with locked(self._lock):
            accounts = self._read()
            if name in accounts["orgs"]:
                raise HubError(409, f"{name!r} is an organisation already")
            accounts["users"][check_owner(name)] = {"full_name": full_name or name, "admin": admin}
            accounts["tokens"][_digest(token)] = {"user": name, "name": "default", "role": "write"}
            self._write(accounts)
        return token

    def add_token(self, user: str, token: str | None = None, *, name: str = "token", role: str = "read") -> str:
        """Give a user one more token, whose role is "read" or "write"."""
        if role not in ("read", "write"):
            raise bad_request(f"Invalid token role {role!r}: it is 'read' or 'write'")
        token = token or new_token()
        with locked(self._lock):
            accounts = self._read()
            if user not in accounts["users"]:
                raise HubError(404, f"There is no user {user!r}")
            accounts["tokens"][_digest(token)] = {"user": user, "name": name, "role": role}
            self._write(accounts)
        return token

    def add_org(self, name: str, members: Mapping[str, str]) -> None:
        """Make (or change) an organisation; `members` gives each user's role in it."""
        with locked(self._lock):
            accounts = self._read()
            if name in accounts["users"]:
                raise HubError(409, f"{name!r} is a user already")
            accounts["orgs"][check_owner(name)] = dict(members)
            self._write(accounts)

    def empty(self) -> bool:
        """Whether nobody has an account yet."""
        return not self._read()["users"]

    def identify(self, token: str) -> Identity:
        """Whose token this is; raises a 401 for one that nobody has."""
        accounts = self._read()
        entry = accounts["tokens"].get(_digest(token))
        if entry is None:
            raise HubError(401, "Invalid credentials in Authorization header")
        user = accounts["users"][entry["user"]]
        name, orgs = entry["user"], accounts["orgs"].items()
        return Identity(
            name=name,
            full_name=user["full_name"],
            orgs={org: members[name] for org, members in orgs if name in members},
            token_name=entry["name"],
            may_write=entry["role"] == "write",
            admin=user["admin"],
        )

    def _read(self) -> dict[str, Any]:
        accounts: dict[str, Any] = read_json(self._path, {"users": {}, "orgs": {}, "tokens": {}})
        return accounts

    def _write(self, accounts: dict[str, Any]) -> None:
        write_json(self._path, accounts)


def new_token() -> str:
    """A token nobody can guess, in the form that the Hub's tokens have."""
    return "hf_" + secrets.token_urlsafe(24).replace("-", "a").replace("_", "b")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()

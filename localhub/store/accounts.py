"""Users, organisations and access tokens. Only the hashes of tokens are kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from localhub.errors import HubError, bad_request
from localhub.names import check_owner
from localhub.store.disk import hold_lock, read_json, write_json

WRITING_ROLES = frozenset({"admin", "write", "contributor"})


@dataclass
class UserRecord:
    """A user as kept."""

    full_name: str
    admin: bool


@dataclass
class TokenRecord:
    """A token as kept: its user, its own name and its role ("read" or "write")."""

    user: str
    name: str
    role: str


@dataclass
class AccountsFile:
    """The content of accounts.json: users and organisations by name, tokens by hash.

    An organisation maps its members to their roles in it.
    """

    users: dict[str, UserRecord]
    orgs: dict[str, dict[str, str]]
    tokens: dict[str, TokenRecord]


_FILE = TypeAdapter(AccountsFile)


@dataclass(frozen=True)
class Identity:
    """The user behind a token, and what the token allows.

    orgs: the user's role ("admin", "write", "contributor" or "read") in each organisation.
    may_write: the token's own permission.
    admin: an admin of the whole Hub may write everywhere.
    """

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
        """Create or change a user. Returns a token of theirs that may write: the given one, or a new one."""
        token = token or _make_token()
        with self._changing() as accounts:
            if name in accounts.orgs:
                raise HubError(409, f"{name!r} is an organisation already")
            accounts.users[check_owner(name)] = UserRecord(full_name or name, admin)
            accounts.tokens[_hash_token(token)] = TokenRecord(name, "default", "write")
        return token

    def add_token(self, user: str, token: str | None = None, *, name: str = "token", role: str = "read") -> str:
        """Give a user one more token, whose role is "read" or "write"; returns it."""
        if role not in ("read", "write"):
            raise bad_request(f"Invalid token role {role!r}: it is 'read' or 'write'")
        token = token or _make_token()
        with self._changing() as accounts:
            if user not in accounts.users:
                raise HubError(404, f"There is no user {user!r}")
            accounts.tokens[_hash_token(token)] = TokenRecord(user, name, role)
        return token

    def add_org(self, name: str, members: Mapping[str, str]) -> None:
        """Create or change an organisation; `members` maps users to their roles in it."""
        with self._changing() as accounts:
            if name in accounts.users:
                raise HubError(409, f"{name!r} is a user already")
            accounts.orgs[check_owner(name)] = dict(members)

    def empty(self) -> bool:
        """Whether nobody has an account yet."""
        return not self._read().users

    def identify(self, token: str) -> Identity:
        """The identity behind a token; a 401 for an unknown one."""
        accounts = self._read()
        entry = accounts.tokens.get(_hash_token(token))
        if entry is None:
            raise HubError(401, "Invalid credentials in Authorization header")
        name = entry.user
        user = accounts.users[name]
        return Identity(
            name=name,
            full_name=user.full_name,
            orgs={org: members[name] for org, members in accounts.orgs.items() if name in members},
            token_name=entry.name,
            may_write=entry.role == "write",
            admin=user.admin,
        )

    def _read(self) -> AccountsFile:
        return read_json(self._path, _FILE) or AccountsFile({}, {}, {})

    @contextmanager
    def _changing(self) -> Iterator[AccountsFile]:
        """The accounts to change, under the lock; written unless the block raises."""
        with hold_lock(self._lock):
            accounts = self._read()
            yield accounts
            write_json(self._path, accounts)


def _make_token() -> str:
    """A token that nobody can guess, in the form of the Hub's own."""
    return "hf_" + secrets.token_urlsafe(24).replace("-", "a").replace("_", "b")


def _hash_token(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()

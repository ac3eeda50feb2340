"""Users, organisations and access tokens. Only the hashes of tokens are kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from localhub.errors import HubError, bad_request
from localhub.names import check_owner
from localhub.store.disk import hold_lock, read_json, write_json

FINE_GRAINED = "fineGrained"
TOKEN_ROLES = ("read", "write", FINE_GRAINED)
REPO_READ, REPO_WRITE, COLLECTION_WRITE = "repo.content.read", "repo.write", "collection.write"
WEBHOOKS_READ, WEBHOOKS_WRITE = "user.webhooks.read", "user.webhooks.write"
"""Permissions of fine-grained tokens, in the Hub's words."""


@dataclass
class UserRecord:
    """A user as kept."""

    full_name: str
    admin: bool


@dataclass(frozen=True)
class TokenScope:
    """What a fine-grained token may do to an entity, which is a user, an organisation ("org") or one "model"."""

    type: str
    name: str
    permissions: tuple[str, ...]


@dataclass
class TokenRecord:
    """A token as kept: its user, its own name, its role ("read", "write" or "fineGrained") and its scopes."""

    user: str
    name: str
    role: str
    scopes: tuple[TokenScope, ...] = ()


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

    orgs: the user's role ("admin", "write", "contributor", "read", or one of its own) in each organisation.
    role, scopes: the token's own permissions.
    admin: an admin of the whole Hub may write everywhere.
    """

    name: str
    full_name: str
    orgs: Mapping[str, str]
    token_name: str
    role: str
    scopes: tuple[TokenScope, ...]
    admin: bool

    @property
    def may_write(self) -> bool:
        """Whether the token may write anything at all."""
        return self.role == "write" or any(REPO_WRITE in scope.permissions for scope in self.scopes)

    def reads(self, owner: str) -> bool:
        """Whether private repos of this owner are visible."""
        belongs = self.admin or owner == self.name or owner in self.orgs
        return belongs and self._allows(REPO_READ, owner)

    def writes(self, owner: str, right: str = REPO_WRITE, repo: str | None = None) -> bool:
        """Whether this owner's repos, one repo of theirs, or with another `right` their collections may be changed."""
        belongs = self.admin or owner == self.name or self.orgs.get(owner, "read") != "read"
        return belongs and self.role != "read" and self._allows(right, owner, repo)

    def allows(self, right: str) -> bool:
        """Whether the token has a right to the user's own settings; whether it may write is another question."""
        return self._allows(right, self.name)

    def _allows(self, right: str, owner: str, repo: str | None = None) -> bool:
        if self.role != FINE_GRAINED:
            return True
        return any(right in scope.permissions and scope.name in (owner, repo) for scope in self.scopes)


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

    def add_token(
        self,
        user: str,
        token: str | None = None,
        *,
        name: str = "token",
        role: str = "read",
        scopes: Iterable[TokenScope] = (),
    ) -> str:
        """Give a user one more token; returns it. Scopes make it a fine-grained one."""
        scopes = tuple(scopes)
        role = FINE_GRAINED if scopes else role
        if role not in TOKEN_ROLES:
            raise bad_request(f"Invalid token role {role!r}: it is one of {', '.join(TOKEN_ROLES)}")
        token = token or _make_token()
        with self._changing() as accounts:
            if user not in accounts.users:
                raise HubError(404, f"There is no user {user!r}")
            accounts.tokens[_hash_token(token)] = TokenRecord(user, name, role, scopes)
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

    def memberships(self) -> dict[str, dict[str, str]]:
        """User → their role in each organisation."""
        accounts = self._read()
        return {
            user: {org: members[user] for org, members in accounts.orgs.items() if user in members}
            for user in accounts.users
        }

    def find_admin(self) -> str | None:
        """A user who may write everywhere; None without one."""
        return next((name for name, user in self._read().users.items() if user.admin), None)

    def find_type(self, name: str) -> str | None:
        """ "user" or "org"; None for a name that no account has."""
        accounts = self._read()
        return "user" if name in accounts.users else "org" if name in accounts.orgs else None

    def belongs(self, user: str, owner: str) -> bool:
        """Whether a user is this owner, or a member of this organisation, or an admin of the whole Hub."""
        accounts = self._read()
        record = accounts.users.get(user)
        return record is not None and (record.admin or user == owner or user in accounts.orgs.get(owner, {}))

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
            role=entry.role,
            scopes=entry.scopes,
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

"""Who asks, and what they may see and change: each route begins here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Request

from localhub.accounts import Identity
from localhub.errors import HubError, forbidden, gated, no_token, repo_not_found
from localhub.names import RESERVED_OWNERS, is_name
from localhub.paths import PLAIN_PATH  # which also teaches the router {revision:revision} and {path:file}
from localhub.repo import Repo, Settings
from localhub.store import Store


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes; `page_items` is the longest page of a list.

    Files above `multipart_above` are uploaded in parts of `part_bytes`.
    """

    multipart_above: int = 64 * 1024 * 1024
    part_bytes: int = 16 * 1024 * 1024
    inline_file: int = 10 * 1024 * 1024
    commit_body: int = 256 * 1024 * 1024
    page_items: int = 1000


@dataclass(frozen=True)
class Caller:
    """Who sent a request (`identity` is None without a token), the store, and the server's own address."""

    store: Store
    limits: Limits
    identity: Identity | None
    endpoint: str
    path: str
    query: str

    def sees(self, repo: Repo, settings: Settings) -> bool:
        """Whether the repo exists for this caller."""
        return not settings.private or (self.identity is not None and self.identity.reads(repo.owner))

    def visible(self) -> Iterator[tuple[Repo, Settings]]:
        """All repos that exist for this caller."""
        for repo in self.store.repos():
            settings = repo.settings()
            if self.sees(repo, settings):
                yield repo, settings

    def opens(self, repo: Repo, settings: Settings) -> bool:
        """Whether the caller may read the files of the repo."""
        asks = self.identity
        let_in = asks is not None and (asks.reads(repo.owner) or asks.name in settings.granted)
        return self.sees(repo, settings) and (let_in or not settings.gated)

    def in_hand(self, wanted: Iterable[str], likely: Repo) -> set[str]:
        """Those of some SHA-256 whose bytes are kept and could be had by the caller anyway: they have sent them, or
        may read them in a repo, of which `likely` is looked at first. A 401 without a token."""
        user = self.known().name
        kept = {sha256 for sha256 in wanted if self.store.blobs.find(sha256)}
        missing = {sha256 for sha256 in kept if not self.store.senders.has_sent(user, sha256)}
        for repo, settings in chain([(likely, likely.settings())], self.visible()):
            if not missing:
                break  # mostly at once: a commit follows its uploads
            if self.opens(repo, settings):
                missing -= repo.holding(missing)
        return kept - missing

    def readable(self, owner: str, name: str) -> Repo:
        """The repo; raises RepoNotFound, or sends the client on if the repo was renamed."""
        if owner.lower() in RESERVED_OWNERS:
            raise HubError(404, f"No such route on the local Hub: {self.path}")
        absent = repo_not_found(known_caller=self.identity is not None)
        if not (is_name(owner) and is_name(name)):
            raise absent
        id = f"{owner}/{name}"
        repo = self.store.find(id) or self.store.find(self.store.moved_to(id) or id)
        if repo is None or not self.sees(repo, repo.settings()):
            raise absent  # for a renamed repo too: its new name is as private as the repo
        if repo.id != id:
            raise self._sent_on(id, repo.id)
        return repo

    def opened(self, owner: str, name: str) -> Repo:
        """The repo, of which the caller may read the files; raises GatedRepo as well."""
        repo = self.readable(owner, name)
        if not self.opens(repo, repo.settings()):
            raise gated(repo.id, known_caller=self.identity is not None)
        return repo

    def writable(self, owner: str, name: str) -> Repo:
        """The repo, which the caller may change; a 401 without a token, a 403 with the wrong one."""
        repo = self.readable(owner, name)
        self.check_writes(owner, f"change {repo.id}")
        return repo

    def check_writes(self, owner: str, deed: str) -> Identity:
        """The caller's identity, which may write to the namespace `owner`; `deed` is named in the refusal."""
        identity = self.known()
        if not identity.writes(owner):
            fault = f"of {identity.name} may not write to {owner}" if identity.may_write else "may only read"
            raise forbidden(f"You don't have the rights to {deed}: the token {fault}")
        return identity

    def known(self) -> Identity:
        """The caller's identity; a 401 without a token."""
        if self.identity is None:
            raise no_token()
        return self.identity

    def contributing(self) -> Identity:
        """The caller's identity with a token that may write, if only to propose or to comment."""
        identity = self.known()
        if not identity.may_write:
            raise forbidden("You don't have the rights for this: the token may only read")
        return identity

    def _sent_on(self, old: str, new: str) -> HubError:
        location = quote(self.path.replace(old, new, 1)) + (f"?{self.query}" if self.query else "")
        return HubError(307, f"{old} is called {new} now", headers={"Location": location})


def _caller(request: Request) -> Caller:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    store: Store = request.app.state.store
    if scheme and (scheme.lower() != "bearer" or not token.strip()):
        raise HubError(401, "Invalid credentials in Authorization header")
    return Caller(
        store=store,
        limits=request.app.state.limits,
        identity=store.accounts.identify(token.strip()) if token else None,
        endpoint=str(request.base_url).rstrip("/"),
        path=request.scope[PLAIN_PATH],
        query=request.url.query,
    )


Asking = Annotated[Caller, Depends(_caller)]

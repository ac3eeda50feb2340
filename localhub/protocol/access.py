"""The caller of a request, and what they may see and change: each route starts here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import Annotated
from urllib.parse import quote

from fastapi import Body, Depends, Request

from localhub.errors import HubError, repo_not_found
from localhub.names import RESERVED_OWNERS, is_name
from localhub.protocol.url_paths import PLAIN_PATH  # importing it registers {revision:revision} and {path:file}
from localhub.store.accounts import REPO_WRITE, Identity
from localhub.store.collections import Collection
from localhub.store.facts import Model
from localhub.store.repo import Author, Repo, Settings
from localhub.store.store import Store
from localhub.webhooks.deliveries import Deliveries
from localhub.xet.storage import XetStorage


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes; `page_items` is the longest page of a list, `watched_items` the most that a webhook
    watches.

    Files above `multipart_above` are uploaded in parts of `part_bytes`.
    """

    multipart_above: int = 64 * 1024 * 1024
    part_bytes: int = 16 * 1024 * 1024
    inline_file: int = 10 * 1024 * 1024
    commit_body: int = 256 * 1024 * 1024
    page_items: int = 1000
    watched_items: int = 100


@dataclass(frozen=True)
class Caller:
    """Who sent a request (`identity` is None without a token), with the store and the server's own address.

    deliveries: the calls to webhooks. xet: the storage of large files in Xet's form, where the server has one.
    """

    store: Store
    limits: Limits
    deliveries: Deliveries
    identity: Identity | None
    endpoint: str
    path: str
    query: str
    xet: XetStorage | None = None

    def sees(self, owner: str, *, private: bool) -> bool:
        """Whether a repo or collection of this owner exists for the caller."""
        return not private or (self.identity is not None and self.identity.reads(owner))

    def reads_files(self, repo: Repo, settings: Settings) -> bool:
        """Whether the caller may read the files of the repo."""
        who = self.identity
        let_in = who is not None and (who.reads(repo.owner) or who.name in settings.granted)
        return self.sees(repo.owner, private=settings.private) and (let_in or not settings.gated)

    def visible_repos(self) -> Iterator[tuple[Repo, Settings]]:
        """All repos that exist for the caller."""
        for repo in self.store.repos():
            settings = repo.settings()
            if self.sees(repo.owner, private=settings.private):
                yield repo, settings

    def visible_models(self) -> Iterator[Model]:
        """All models that exist for the caller, at main."""
        for repo, settings in self.visible_repos():
            with suppress(HubError):  # it has been deleted since it was found
                yield self.store.model(repo, settings=settings)

    def visible_collections(self) -> list[Collection]:
        """The collections that exist for the caller, with the items that do; the one changed last first."""
        found = [kept for kept in self.store.collections.all() if self.sees(kept.owner, private=kept.private)]
        return self.without_hidden_items(found)

    def without_hidden_items(self, collections: Iterable[Collection]) -> list[Collection]:
        """The collections with those of their items whose repos exist for the caller."""
        ids = {repo.id for repo, _ in self.visible_repos()}
        return [replace(kept, items=[item for item in kept.items if item.id in ids]) for kept in collections]

    def whole_collection(self, owner: str, slug: str) -> Collection:
        """A collection with all its items; a 404 if it is absent or private to others."""
        collection = self.store.collections.get(f"{owner}/{slug}")
        if not self.sees(collection.owner, private=collection.private):
            raise HubError(404, f"Collection not found: {owner}/{slug}")
        return collection

    def find_uploaded(self, wanted: Iterable[str], likely: Repo) -> set[str]:
        """Those of the wanted SHA-256 that the caller need not send again; a 401 without a token.

        Their content is kept and the caller has access to it anyway: they have sent it, or may read it in a repo.
        Others are asked for the bytes as if they were the first, because knowing a hash is no right to a file.
        likely: the repo to search first.
        """
        user = self.require_identity().name
        kept = {sha256 for sha256 in wanted if self.store.blobs.size(sha256) is not None}
        missing = {sha256 for sha256 in kept if not self.store.senders.has_sent(user, sha256)}
        for repo, settings in chain([(likely, likely.settings())], self.visible_repos()):
            if not missing:
                break  # usually at once, because a commit follows its uploads
            if self.reads_files(repo, settings):
                missing -= repo.find_hashes(missing)
        return kept - missing

    def receive_from_xet(self, sha256: str) -> None:
        """Keep the file with this SHA-256, if the caller has sent it to the Xet storage."""
        if self.xet is not None:
            self.xet.receive(self.require_identity().name, sha256)

    def visible_repo(self, owner: str, name: str) -> Repo:
        """The repo; RepoNotFound if it does not exist for the caller, a redirect if it was renamed."""
        if owner.lower() in RESERVED_OWNERS:
            raise HubError(404, f"No such route on the local Hub: {self.path}")
        absent = repo_not_found(known_caller=self.identity is not None)
        if not (is_name(owner) and is_name(name)):
            raise absent
        id = f"{owner}/{name}"
        repo = self.store.find(id) or self.store.find(self.store.moved_to(id) or id)
        if repo is None or not self.sees(repo.owner, private=repo.settings().private):
            raise absent  # also for a renamed repo, whose new name is as private as the repo
        if repo.id != id:
            location = quote(self.path.replace(id, repo.id, 1)) + (f"?{self.query}" if self.query else "")
            raise HubError(307, f"{id} is called {repo.id} now", headers={"Location": location})
        return repo

    def readable_repo(self, owner: str, name: str) -> Repo:
        """The repo, if the caller may read its files; otherwise RepoNotFound or GatedRepo."""
        return self.check_reads(self.visible_repo(owner, name), "model")

    def check_reads(self, repo: Repo, kind: str) -> Repo:
        """A visible repo, if the caller may read its files; otherwise GatedRepo. `kind` is "model" or "dataset"."""
        if not self.reads_files(repo, repo.settings()):
            known = self.identity is not None
            remedy = "ask its owner for access" if known else "log in with a token"
            message = f"Access to {kind} {repo.id} is restricted: {remedy}."
            raise HubError(403 if known else 401, message, code="GatedRepo")
        return repo

    def writable_repo(self, owner: str, name: str) -> Repo:
        """The repo, if the caller may change it; a 401 without a token, a 403 with the wrong one."""
        repo = self.visible_repo(owner, name)
        self.check_writes(owner, f"change {repo.id}", repo=repo.id)
        return repo

    def check_writes(self, owner: str, action: str, *, right: str = REPO_WRITE, repo: str | None = None) -> Identity:
        """The caller's identity, if it may write to the namespace `owner`; a refusal names the `action`.

        right: what a fine-grained token has to allow, on the namespace or on `repo`.
        """
        identity = self.require_identity()
        if not identity.writes(owner, right, repo):
            fault = f"of {identity.name} may not write to {owner}" if identity.may_write else "may only read"
            raise HubError(403, f"You don't have the rights to {action}: the token {fault}")
        return identity

    def require_identity(self) -> Identity:
        """The caller's identity; a 401 without a token."""
        if self.identity is None:
            raise HubError(401, "Invalid username or password.")
        return self.identity

    def author(self, action: str) -> Author:
        """The caller as an author, if their token may write at all; a refusal names the `action`."""
        identity = self.require_identity()
        if not identity.may_write:
            raise HubError(403, f"You don't have the rights to {action}: the token may only read")
        return self.store.author(identity.name)


def _identify_caller(request: Request) -> Caller:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    store: Store = request.app.state.store
    if scheme and (scheme.lower() != "bearer" or not token.strip()):
        raise HubError(401, "Invalid credentials in Authorization header")
    return Caller(
        store=store,
        limits=request.app.state.limits,
        deliveries=request.app.state.deliveries,
        identity=store.accounts.identify(token.strip()) if token else None,
        endpoint=str(request.base_url).rstrip("/"),
        path=request.scope[PLAIN_PATH],
        query=request.url.query,
        xet=request.app.state.xet,
    )


CurrentCaller = Annotated[Caller, Depends(_identify_caller)]


def _find_visible_repo(caller: CurrentCaller, owner: str, name: str) -> Repo:
    return caller.visible_repo(owner, name)


def _find_readable_repo(caller: CurrentCaller, owner: str, name: str) -> Repo:
    return caller.readable_repo(owner, name)


def _find_writable_repo(caller: CurrentCaller, owner: str, name: str) -> Repo:
    return caller.writable_repo(owner, name)


# The repo in a route's path. The request is refused unless the caller may see it, read its files or change it.
VisibleRepo = Annotated[Repo, Depends(_find_visible_repo)]
ReadableRepo = Annotated[Repo, Depends(_find_readable_repo)]
WritableRepo = Annotated[Repo, Depends(_find_writable_repo)]
BodyText = Annotated[str, Body(embed=True)]  # a text in the JSON body, under the parameter's name

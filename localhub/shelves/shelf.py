"""The repos of one kind besides models, in a folder of their own beside those. No HTTP here."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from localhub.errors import HubError
from localhub.names import check_repo_id
from localhub.store.cards import BadCardError, split_card
from localhub.store.commits import GITATTRIBUTES, Changes, Commit, Tree
from localhub.store.disk import hold_lock
from localhub.store.repo import MAIN, Draft, Refs, Repo, Settings
from localhub.store.store import Store
from localhub.store.tags import Fields

ShelfKind = Literal["datasets", "spaces"]
"""The kind of a shelf's repos, as it stands in the addresses of the API."""


@dataclass(frozen=True)
class ShelvedFacts:
    """A repo at the commit with id `sha`, with all that the Hub shows of it; `card` is its front matter."""

    repo: Repo
    settings: Settings
    sha: str
    commit: Commit
    tree: Tree
    card: Fields


class Shelf:
    """The repos of one kind of a Hub's folder, with the accounts and the blobs of its models."""

    def __init__(self, store: Store, kind: ShelfKind) -> None:
        self._store = store
        self._kind = kind
        self._repos = store.root / kind
        self._locks = store.root / "locks"

    def find(self, id: str) -> Repo | None:
        """The repo with this id, or None."""
        found = self._repo(check_repo_id(id))
        return found if found.exists() else None

    def create(
        self, id: str, *, private: bool = False, author: str | None = None, moment: datetime | None = None
    ) -> Repo:
        """Make a repo at `moment` (now if none is given), with .gitattributes as its first commit.

        A 409 if there is one of this name.
        """
        repo = self._repo(check_repo_id(id))
        first = {".gitattributes": self._store.entry(".gitattributes", GITATTRIBUTES.encode())}
        with repo.lock():
            if repo.exists():
                raise HubError(409, f"You already created this {self._kind.removesuffix('s')} repo: {id}")
            who = self._store.author(author or repo.owner, moment)
            repo.write_settings(Settings(private=private, created_at=who.date))
            repo.write_refs(Refs(branches={MAIN: repo.write_commit(first, (), who, "initial commit")}))
        return repo

    def delete(self, repo: Repo) -> None:
        """Delete a repo; its blobs stay."""
        with repo.lock():
            trash = self._store.root / "trash" / uuid.uuid4().hex
            trash.parent.mkdir(parents=True, exist_ok=True)
            repo.folder.rename(trash)
        shutil.rmtree(trash)

    def commit(
        self, id: str, files: Mapping[str, bytes | str | Path], message: str = "Upload", moment: datetime | None = None
    ) -> str:
        """Set files (bytes, text, or a file to copy) in one commit to main; returns its id.

        The repo is made if there is none. `moment` carries its time zone; now if none is given.
        """
        repo = self.find(id) or self.create(id, moment=moment)
        entries = {
            path: self._store.entry(path, content.encode() if isinstance(content, str) else content)
            for path, content in files.items()
        }
        return repo.advance(MAIN, Draft(Changes(entries), self._store.author(repo.owner, moment), message))

    def read(self, id: str, path: str, revision: str = MAIN) -> bytes:
        """The content of a file; a 404 if there is none."""
        repo = self._repo(check_repo_id(id))
        return self._store.blobs.read(repo.entry(path, repo.resolve(revision)).sha256)

    def facts(self, repo: Repo, revision: str = MAIN) -> ShelvedFacts:
        """A repo at a revision; a front matter that cannot be read counts as absent."""
        sha = repo.resolve(revision)
        tree = repo.tree(sha)
        entry = tree.get("README.md")
        try:
            card, _ = split_card(self._store.blobs.read(entry.sha256).decode(errors="replace") if entry else "")
        except BadCardError:
            card = {}
        return ShelvedFacts(repo, repo.settings(), sha, repo.commit(sha), tree, card)

    def _repo(self, id: str) -> Repo:
        owner, _, name = id.partition("/")
        lock = self._locks / f"{self._kind}--{owner}--{name}.lock"  # no model's owner may be called so
        return Repo(id, self._repos / owner / name, lambda: hold_lock(lock))

"""The data set repos that the local Hub keeps, in a folder of their own beside the models. No HTTP here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from localhub.names import check_repo_id
from localhub.store.cards import BadCardError, split_card
from localhub.store.commits import GITATTRIBUTES, Changes, Commit, Tree
from localhub.store.disk import hold_lock
from localhub.store.repo import MAIN, Draft, Refs, Repo, Settings
from localhub.store.store import Store
from localhub.store.tags import Fields


@dataclass(frozen=True)
class DatasetFacts:
    """A data set repo at the commit with id `sha`, with all that the Hub shows of it; `card` is its front matter."""

    repo: Repo
    settings: Settings
    sha: str
    commit: Commit
    tree: Tree
    card: Fields


class Datasets:
    """The data sets of a Hub's folder, with the accounts and the blobs of its models."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._repos = store.root / "datasets"
        self._locks = store.root / "locks"

    def find(self, id: str) -> Repo | None:
        """The data set with this id, or None."""
        found = self._repo(check_repo_id(id))
        return found if found.exists() else None

    def commit(
        self, id: str, files: Mapping[str, bytes | str | Path], message: str = "Upload", moment: datetime | None = None
    ) -> str:
        """Set files (bytes, text, or a file to copy) in one commit to main; returns its id.

        The repo is made if there is none. `moment` carries its time zone; now if none is given.
        """
        repo = self.find(id) or self._create(id, moment)
        entries = {
            path: self._store.entry(path, content.encode() if isinstance(content, str) else content)
            for path, content in files.items()
        }
        return repo.advance(MAIN, Draft(Changes(entries), self._store.author(repo.owner, moment), message))

    def facts(self, repo: Repo, revision: str = MAIN) -> DatasetFacts:
        """A data set at a revision; a front matter that cannot be read counts as absent."""
        sha = repo.resolve(revision)
        tree = repo.tree(sha)
        entry = tree.get("README.md")
        try:
            card, _ = split_card(self._store.blobs.read(entry.sha256).decode(errors="replace") if entry else "")
        except BadCardError:
            card = {}
        return DatasetFacts(repo, repo.settings(), sha, repo.commit(sha), tree, card)

    def _create(self, id: str, moment: datetime | None) -> Repo:
        repo = self._repo(check_repo_id(id))
        first = {".gitattributes": self._store.entry(".gitattributes", GITATTRIBUTES.encode())}
        with repo.lock():
            if not repo.exists():
                author = self._store.author(repo.owner, moment)
                repo.write_settings(Settings(created_at=author.date))
                repo.write_refs(Refs(branches={MAIN: repo.write_commit(first, (), author, "initial commit")}))
        return repo

    def _repo(self, id: str) -> Repo:
        owner, _, name = id.partition("/")
        lock = self._locks / f"datasets--{owner}--{name}.lock"  # no model's owner may be called "datasets"
        return Repo(id, self._repos / owner / name, lambda: hold_lock(lock))

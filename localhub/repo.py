"""One repo on disk: commits and trees that never change, and one small file of references that does.

A commit is made by writing the blobs, the tree and the commit, and then replacing `refs.json`: that last
rename is the moment at which it exists, so that a crash before it leaves the repo as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from localhub.commits import (
    Changes,
    Commit,
    Tree,
    apply,
    between,
    touched,
    tree_from_json,
    tree_id,
    tree_to_json,
)
from localhub.disk import read_json, write_json
from localhub.errors import HubError, bad_request, revision_not_found
from localhub.names import COMMIT_ID, check_ref, pull_number

MAIN = "main"


@dataclass(frozen=True)
class Settings:
    """What is known of a repo beside its files. `gated` is False, "auto" or "manual"; `created_at` is ISO
    8601, UTC; `granted` lists the users let into a gated repo; `issues` are the security scanner's
    findings."""

    private: bool = False
    gated: bool | str = False
    created_at: str = ""
    downloads: int = 0
    likes: int = 0
    granted: tuple[str, ...] = ()
    scans_done: bool = True
    issues: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class Refs:
    """Where the names point: branches and pull requests (by number, as text) to commits, tags likewise."""

    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Author:
    """Who commits, and when (ISO 8601, UTC)."""

    name: str
    date: str


class Repo:
    """The folder of one repo. `lock` gives a context in which nobody else writes to it."""

    def __init__(self, id: str, folder: Path, lock: Callable[[], AbstractContextManager[None]]) -> None:
        self.id = id
        self.folder = folder
        self.lock = lock

    @property
    def owner(self) -> str:
        """The namespace that the repo stands in."""
        return self.id.partition("/")[0]

    def exists(self) -> bool:
        """Whether there is such a repo; a folder without references is a leftover."""
        return (self.folder / "refs.json").exists()

    def settings(self) -> Settings:
        """What is known of the repo beside its files."""
        value = read_json(self.folder / "settings.json", None)
        if value is None:
            return Settings(private=True)  # a repo that is being taken away
        return Settings(**{**value, "granted": tuple(value["granted"]), "issues": tuple(value["issues"])})

    def change_settings(self, **values: Any) -> None:
        """Set some of the fields of `Settings`."""
        with self.lock():
            self.write_settings(replace(self.settings(), **values))

    def write_settings(self, settings: Settings) -> None:
        """Set them all; the caller holds the lock."""
        write_json(self.folder / "settings.json", asdict(settings))

    def refs(self) -> Refs:
        """Where the names point now."""
        return Refs(**read_json(self.folder / "refs.json", {}))

    def write_refs(self, refs: Refs) -> None:
        """Point the names elsewhere; the caller holds the lock."""
        write_json(self.folder / "refs.json", asdict(refs))

    def commit(self, id: str) -> Commit:
        """The commit with this full id; raises RevisionNotFound."""
        value = read_json(self._object(id), None)
        if value is None:
            raise revision_not_found(id)
        return Commit.from_json(value)

    def tree(self, commit: str) -> Tree:
        """The files at a commit."""
        return tree_from_json(read_json(self.folder / "trees" / f"{self.commit(commit).tree}.json", {}))

    def holding(self, hashes: Set[str]) -> set[str]:
        """Those of some SHA-256 that are a file's at any commit."""
        found: set[str] = set()
        for path in (self.folder / "trees").glob("*.json"):
            found |= hashes & {entry["sha256"] for entry in read_json(path, {}).values()}
        return found

    def resolve(self, revision: str) -> str:
        """The commit that a branch, tag, `refs/pr/N` or (abbreviated) commit id means."""
        refs = self.refs()
        number = pull_number(revision)
        found = refs.pulls.get(number) if number else refs.branches.get(revision.removeprefix("refs/heads/"))
        found = found or refs.tags.get(revision.removeprefix("refs/tags/"))
        if found is None and COMMIT_ID.fullmatch(revision) and self._object(revision).exists():
            found = revision
        if found is None:
            raise revision_not_found(revision)
        return found

    def history(self, commit: str) -> Iterator[tuple[str, Commit]]:
        """The commit and its ancestors along the first parents, newest first."""
        while True:
            value = self.commit(commit)
            yield commit, value
            if not value.parents:
                return
            commit = value.parents[0]

    def write_commit(self, tree: Tree, parents: tuple[str, ...], author: Author, title: str, message: str) -> str:
        """Keep a commit that no name points to yet; gives its id."""
        commit = Commit(tree_id(tree), parents, title, message, author.name, author.date)
        write_json(self.folder / "trees" / f"{commit.tree}.json", tree_to_json(tree))
        write_json(self._object(commit.id), asdict(commit))
        return commit.id

    def advance(
        self,
        target: str,
        changes: Changes,
        author: Author,
        title: str,
        message: str = "",
        parent: str | None = None,
    ) -> str:
        """Commit to the branch or `refs/pr/N` called `target`. If `parent` is given and is not the head,
        412."""
        with self.lock():
            refs = self.refs()
            head = self._head(refs, target, parent)
            tree = apply(changes, self.tree(head), head)
            commit = self.write_commit(tree, (head,), author, title, message)
            self.write_refs(_pointed(refs, target, commit))
        return commit

    def open_pull(
        self,
        number: int,
        base: str,
        changes: Changes,
        author: Author,
        title: str,
        message: str,
        parent: str | None,
    ) -> str:
        """Commit to a new `refs/pr/N` that starts from the branch `base`; the caller holds the lock."""
        refs = self.refs()
        head = self._head(refs, base, parent)
        commit = head
        if changes.files or changes.deleted_files or changes.deleted_folders:
            tree = apply(changes, self.tree(head), head)
            commit = self.write_commit(tree, (head,), author, title, message)
        self.write_refs(_pointed(refs, f"refs/pr/{number}", commit))
        return commit

    def merge_pull(self, number: int, started_at: str, base: str, author: Author, title: str) -> str:
        """Bring a pull request's changes since `started_at` onto the branch `base`; the caller holds the
        lock.

        Raises a 409 naming the files that both have changed.
        """
        refs = self.refs()
        head, tip = refs.branches[base], refs.pulls[str(number)]
        theirs = between(self.tree(started_at), self.tree(tip))
        conflicts = sorted(touched(theirs) & touched(between(self.tree(started_at), self.tree(head))))
        if conflicts:
            raise HubError(409, f"Merge conflicts in {', '.join(conflicts)}")
        tree = apply(theirs, self.tree(head), head)
        commit = self.write_commit(tree, (head, tip), author, title, "")
        self.write_refs(_pointed(refs, base, commit))
        return commit

    def create_branch(self, name: str, revision: str) -> None:
        """A new branch at a revision; 409 if there is one of that name."""
        with self.lock():
            refs = self.refs()
            if check_ref(name) in refs.branches:
                raise HubError(409, f"Reference already exists: branch {name}")
            self.write_refs(replace(refs, branches={**refs.branches, name: self.resolve(revision)}))

    def delete_branch(self, name: str) -> None:
        """Take a branch away, unless it is main."""
        with self.lock():
            refs = self.refs()
            if name == MAIN:
                raise HubError(403, "The branch main cannot be deleted")
            self.write_refs(replace(refs, branches=_without(refs.branches, name)))

    def create_tag(self, name: str, revision: str) -> None:
        """A new tag at a revision; 409 if there is one of that name."""
        with self.lock():
            refs = self.refs()
            if check_ref(name) in refs.tags:
                raise HubError(409, f"Tag reference exists already: {name}")
            self.write_refs(replace(refs, tags={**refs.tags, name: self.resolve(revision)}))

    def delete_tag(self, name: str) -> None:
        """Take a tag away."""
        with self.lock():
            refs = self.refs()
            self.write_refs(replace(refs, tags=_without(refs.tags, name)))

    def _object(self, id: str) -> Path:
        return self.folder / "commits" / f"{id}.json"

    def _head(self, refs: Refs, target: str, parent: str | None) -> str:
        number = pull_number(target)
        head = refs.pulls.get(number) if number else refs.branches.get(target)
        if head is None:
            if target in refs.tags or COMMIT_ID.fullmatch(target):
                raise bad_request(f"Cannot commit to {target!r}: it is not a branch")
            raise revision_not_found(target)
        if parent is not None and parent != head:
            raise HubError(
                412,
                f"A commit has happened since: {target} is at {head}, the parent commit sent is {parent}.",
            )
        return head


def _pointed(refs: Refs, target: str, commit: str) -> Refs:
    number = pull_number(target)
    if number:
        return replace(refs, pulls={**refs.pulls, number: commit})
    return replace(refs, branches={**refs.branches, target: commit})


def _without(names: dict[str, str], name: str) -> dict[str, str]:
    if name not in names:
        raise revision_not_found(name)
    return {key: value for key, value in names.items() if key != name}

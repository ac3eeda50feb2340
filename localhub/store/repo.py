"""One repo on disk: commits and trees that never change, and one small file of references that does.

A commit is made by writing the blobs, the tree and the commit, and then replacing `refs.json`. The commit exists from
that last rename on, so a crash before it leaves the repo as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from localhub.errors import HubError, bad_request, entry_not_found, revision_not_found
from localhub.names import COMMIT_ID, check_ref, parse_pull_number
from localhub.store.commits import Changes, Commit, Entry, Tree, apply_changes, diff_trees, hash_tree
from localhub.store.disk import read_json, write_json

MAIN = "main"


@dataclass(frozen=True)
class Settings:
    """What the Hub knows of a repo besides its files.

    gated: False, "auto" or "manual".
    created_at: ISO 8601, UTC.
    granted: the users let into a gated repo.
    issues: the security scanner's findings, each with "path" and "level".
    """

    private: bool = False
    gated: bool | str = False
    created_at: str = ""
    downloads: int = 0
    likes: int = 0
    granted: tuple[str, ...] = ()
    scans_done: bool = True
    issues: tuple[dict[str, str], ...] = ()


@dataclass
class Refs:
    """The commits that names point to: branches, tags, and pull requests by their number as text."""

    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: dict[str, str] = field(default_factory=dict)

    def point(self, target: str, commit: str) -> None:
        """Let the branch or `refs/pr/N` called `target` point to a commit."""
        number = parse_pull_number(target)
        names, name = (self.pulls, number) if number else (self.branches, target)
        names[name] = commit


@dataclass(frozen=True)
class Author:
    """Somebody who commits or writes, at a moment (ISO 8601, UTC)."""

    name: str
    date: str


@dataclass(frozen=True)
class Draft:
    """A commit before it is applied to a tree; it is refused unless `parent`, if given, is the head."""

    changes: Changes
    author: Author
    title: str
    message: str = ""
    parent: str | None = None


_SETTINGS, _REFS = TypeAdapter(Settings), TypeAdapter(Refs)
_COMMIT, _TREE = TypeAdapter(Commit), TypeAdapter(dict[str, Entry])


class Repo:
    """The folder of one repo. `lock` gives a context in which nobody else writes to it."""

    def __init__(self, id: str, folder: Path, lock: Callable[[], AbstractContextManager[None]]) -> None:
        self.id = id
        self.folder = folder
        self.lock = lock

    @property
    def owner(self) -> str:
        """The namespace of the repo."""
        return self.id.partition("/")[0]

    def exists(self) -> bool:
        """Whether the repo exists; a folder without references is left over from a crash."""
        return (self.folder / "refs.json").exists()

    def settings(self) -> Settings:
        """What the Hub knows of the repo besides its files."""
        # The file is absent only while the repo is being deleted: hide it meanwhile.
        return read_json(self.folder / "settings.json", _SETTINGS) or Settings(private=True)

    def change_settings(self, change: Callable[[Settings], Settings]) -> None:
        """Replace the settings by what `change` makes of them, under the lock."""
        with self.lock():
            self.write_settings(change(self.settings()))

    def write_settings(self, settings: Settings) -> None:
        """Replace the settings; the caller holds the lock."""
        write_json(self.folder / "settings.json", settings)

    def refs(self) -> Refs:
        """The references as they are now."""
        return read_json(self.folder / "refs.json", _REFS) or Refs()

    def write_refs(self, refs: Refs) -> None:
        """Replace the references; the caller holds the lock."""
        write_json(self.folder / "refs.json", refs)

    def commit(self, id: str) -> Commit:
        """The commit with this full id; a 404 if there is none."""
        commit = read_json(self._commit_file(id), _COMMIT)
        if commit is None:
            raise revision_not_found(id)
        return commit

    def tree(self, commit: str) -> Tree:
        """The files at a commit."""
        return read_json(self.folder / "trees" / f"{self.commit(commit).tree}.json", _TREE) or {}

    def find_hashes(self, wanted: Set[str]) -> set[str]:
        """Those of the wanted SHA-256 that a file of this repo has or had, at any commit."""
        found: set[str] = set()
        for path in (self.folder / "trees").glob("*.json"):
            found |= wanted & {entry.sha256 for entry in (read_json(path, _TREE) or {}).values()}
        return found

    def entry(self, path: str, commit: str) -> Entry:
        """The file with this path at a commit; a 404 if there is none."""
        entry = self.tree(commit).get(path)
        if entry is None:
            raise entry_not_found(path, commit)
        return entry

    def resolve(self, revision: str) -> str:
        """The full id of the commit that a branch, a tag, `refs/pr/N` or a commit id means; a 404 for none."""
        refs = self.refs()
        number = parse_pull_number(revision)
        found = refs.pulls.get(number) if number else refs.branches.get(revision.removeprefix("refs/heads/"))
        found = found or refs.tags.get(revision.removeprefix("refs/tags/"))
        if found is None and COMMIT_ID.fullmatch(revision) and self._commit_file(revision).exists():
            found = revision
        if found is None:
            raise revision_not_found(revision)
        return found

    def history(self, commit: str) -> Iterator[tuple[str, Commit]]:
        """The commit and its ancestors along the first parents, newest first, each with its id."""
        while True:
            value = self.commit(commit)
            yield commit, value
            if not value.parents:
                return
            commit = value.parents[0]

    def write_commit(self, tree: Tree, parents: tuple[str, ...], author: Author, title: str, message: str = "") -> str:
        """Keep a commit that no reference points to yet; returns its id."""
        commit = Commit(hash_tree(tree), parents, title, message, author.name, author.date)
        write_json(self.folder / "trees" / f"{commit.tree}.json", tree)
        write_json(self._commit_file(commit.id), commit)
        return commit.id

    def advance(self, target: str, draft: Draft) -> str:
        """Commit to the branch or `refs/pr/N` called `target`; returns the commit's id. A 412 for a stale parent."""
        with self._changing_refs() as refs:
            commit = self._write_draft(draft, _find_head(refs, target, draft.parent))
            refs.point(target, commit)
        return commit

    def open_pull(self, number: int, base: str, draft: Draft) -> str:
        """Commit to a new `refs/pr/N`; the caller holds the lock.

        It starts from the draft's parent if it names one, as the Hub's clients say, else from the branch `base`.
        """
        refs = self.refs()
        commit = self.resolve(draft.parent or base)
        changes = draft.changes
        if changes.files or changes.deleted_files or changes.deleted_folders:
            commit = self._write_draft(draft, commit)
        refs.point(f"refs/pr/{number}", commit)
        self.write_refs(refs)
        return commit

    def merge_pull(self, number: int, started_at: str, base: str, author: Author, title: str) -> str:
        """Apply a pull request's changes since the commit `started_at` to the branch `base`.

        The caller holds the lock. A 409 names the files that both sides have changed.
        """
        refs = self.refs()
        head, tip = refs.branches[base], refs.pulls[str(number)]
        theirs = diff_trees(self.tree(started_at), self.tree(tip))
        if conflicts := self.find_conflicts(number, started_at, base):
            raise HubError(409, f"Merge conflicts in {', '.join(conflicts)}")
        files = {path: entry for path, entry in theirs.items() if entry is not None}
        changes = Changes(files, deleted_files=[path for path in theirs if path not in files])
        commit = self.write_commit(apply_changes(changes, self.tree(head), head), (head, tip), author, title)
        refs.point(base, commit)
        self.write_refs(refs)
        return commit

    def squash(self, branch: str, author: Author, title: str) -> None:
        """Replace a branch by one commit that has its files and no parent."""
        with self._changing_refs() as refs:
            refs.branches[branch] = self.write_commit(self.tree(_find_head(refs, branch, None)), (), author, title)

    def find_conflicts(self, number: int, started_at: str, base: str) -> list[str]:
        """The files that both a pull request and the branch `base` have changed since the commit `started_at`."""
        refs, start = self.refs(), self.tree(started_at)
        changed = [diff_trees(start, self.tree(tip)) for tip in (refs.pulls[str(number)], refs.branches[base])]
        return sorted(changed[0].keys() & changed[1].keys())

    def create_branch(self, name: str, revision: str) -> None:
        """Make a branch at a revision; a 409 if there is one of that name."""
        with self._changing_refs() as refs:
            if check_ref(name) in refs.branches:
                raise HubError(409, f"Reference already exists: branch {name}")
            refs.branches[name] = self.resolve(revision)

    def create_tag(self, name: str, revision: str) -> None:
        """Make a tag at a revision; a 409 if there is one of that name."""
        with self._changing_refs() as refs:
            if check_ref(name) in refs.tags:
                raise HubError(409, f"Tag reference exists already: {name}")
            refs.tags[name] = self.resolve(revision)

    def delete_branch(self, name: str) -> None:
        """Delete a branch other than main; its commits stay."""
        if name == MAIN:
            raise HubError(403, "The branch main cannot be deleted")
        with self._changing_refs() as refs:
            _delete_name(refs.branches, name)

    def delete_tag(self, name: str) -> None:
        """Delete a tag."""
        with self._changing_refs() as refs:
            _delete_name(refs.tags, name)

    @contextmanager
    def _changing_refs(self) -> Iterator[Refs]:
        """The references to change, under the lock; written unless the block raises."""
        with self.lock():
            refs = self.refs()
            yield refs
            self.write_refs(refs)

    def _write_draft(self, draft: Draft, head: str) -> str:
        tree = apply_changes(draft.changes, self.tree(head), head)
        return self.write_commit(tree, (head,), draft.author, draft.title, draft.message)

    def _commit_file(self, id: str) -> Path:
        return self.folder / "commits" / f"{id}.json"


def _find_head(refs: Refs, target: str, parent: str | None) -> str:
    """The commit of a branch or `refs/pr/N` to commit on; a 412 if `parent` is given and is another."""
    number = parse_pull_number(target)
    head = refs.pulls.get(number) if number else refs.branches.get(target)
    if head is None:
        if target in refs.tags or COMMIT_ID.fullmatch(target):
            raise bad_request(f"Cannot commit to {target!r}: it is not a branch")
        raise revision_not_found(target)
    if parent is not None and parent != head:
        message = f"A commit has happened since: {target} is at {head}, the parent commit sent is {parent}."
        raise HubError(412, message)
    return head


def _delete_name(names: dict[str, str], name: str) -> None:
    if names.pop(name, None) is None:
        raise revision_not_found(name)

"""Everything that the local Hub keeps, in one folder: accounts, blobs, repos, collections. No HTTP here."""

from __future__ import annotations

import secrets
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path

from pydantic import TypeAdapter

from localhub.errors import HubError, repo_not_found
from localhub.names import check_path, check_repo_id
from localhub.store.accounts import Accounts
from localhub.store.blobs import Blobs, Senders
from localhub.store.collections import Collections
from localhub.store.commits import GITATTRIBUTES, Changes, Entry, belongs_in_lfs
from localhub.store.discussions import Discussions
from localhub.store.disk import hold_lock, read_json, write_json
from localhub.store.facts import Facts, Model, gather_facts
from localhub.store.repo import MAIN, Author, Draft, Refs, Repo, Settings

SAMPLE_BYTES = 512  # the start of a file, which shows whether it is text; the client sends as much
_SECRET, _MOVES = TypeAdapter(str), TypeAdapter(dict[str, str])


class Store:
    """The Hub's folder. Safe to use from several threads and processes at once.

    now: the clock, in UTC.
    """

    def __init__(self, root: Path | str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.root = Path(root).absolute()
        self._now = now
        self._repos = self.root / "repos"
        self._locks = self.root / "locks"
        self._moves = self.root / "moves.json"
        self.accounts = Accounts(self.root)
        self.blobs = Blobs(self.root / "blobs")
        self.senders = Senders(self.root / "senders")
        self.collections = Collections(self.root / "collections", self._locks, self.now)
        self._facts = lru_cache(maxsize=4096)(self._gather_facts)  # a commit never changes, so neither do its facts

    @cached_property
    def secret(self) -> bytes:
        """The key that signs upload addresses; made once for a folder."""
        path = self.root / "secret.json"
        with hold_lock(self._locks / "secret.lock"):
            if not path.exists():
                write_json(path, secrets.token_hex(32))
        return bytes.fromhex(read_json(path, _SECRET) or "")

    def now(self) -> str:
        """The time, as the Hub writes it."""
        return _format_time(self._now())

    def author(self, name: str, moment: datetime | None = None) -> Author:
        """The author of something written at a moment, which carries its time zone; now if none is given."""
        return Author(name, _format_time(moment or self._now()))

    # Accounts

    def add_user(self, name: str, token: str | None = None, *, full_name: str = "", admin: bool = False) -> str:
        """Create or change a user. Returns a token of theirs that may write: the given one, or a new one."""
        return self.accounts.add_user(name, token, full_name=full_name, admin=admin)

    def add_org(self, name: str, members: Mapping[str, str] | Iterable[str]) -> None:
        """Create or change an organisation; `members` are users, each with a role ("write" where none is given)."""
        self.accounts.add_org(name, members if isinstance(members, Mapping) else dict.fromkeys(members, "write"))

    # Repos

    def create_repo(
        self,
        repo: str,
        *,
        private: bool = False,
        gated: bool | str = False,
        author: str | None = None,
        moment: datetime | None = None,
    ) -> Repo:
        """Make a repo at `moment` (now if none is given), with .gitattributes as its first commit.

        A 409 if there is one of this name.
        """
        created = self._repo(check_repo_id(repo))
        first = {".gitattributes": self.entry(".gitattributes", GITATTRIBUTES.encode())}
        with created.lock():
            if created.exists():
                raise HubError(409, f"You already created this model repo: {repo}")
            shutil.rmtree(created.folder, ignore_errors=True)  # left over from a crash further down
            who = self.author(author or created.owner, moment)
            created.write_settings(Settings(private=private, gated=gated, created_at=who.date))
            commit = created.write_commit(first, (), who, "initial commit")
            created.write_refs(Refs(branches={MAIN: commit}))
            self._change_moves({repo: None})  # a name that is taken again is no longer an old name
        return created

    def repo(self, repo: str) -> Repo:
        """The repo with this id; a 404 if there is none."""
        found = self.find(repo)
        if found is None:
            raise repo_not_found(known_caller=True)
        return found

    def find(self, repo: str) -> Repo | None:
        """The repo with this id, or None."""
        found = self._repo(check_repo_id(repo))
        return found if found.exists() else None

    def repos(self) -> Iterator[Repo]:
        """All repos, by id."""
        for path in sorted(self._repos.glob("*/*/refs.json")):
            yield self._repo(f"{path.parent.parent.name}/{path.parent.name}")

    def delete_repo(self, repo: str) -> None:
        """Delete a repo. Its blobs stay, because other repos may share them."""
        with self.repo(repo).lock():
            found = self.repo(repo)  # looked up again: it may have been deleted while this waited for the lock
            trash = self.root / "trash" / uuid.uuid4().hex
            trash.parent.mkdir(parents=True, exist_ok=True)
            found.folder.rename(trash)
        shutil.rmtree(trash)

    def move_repo(self, old: str, new: str) -> None:
        """Rename a repo; from then on, requests for the old name are redirected."""
        with ExitStack() as locks:
            # Always locked in the same order, or two moves could wait for each other for ever.
            for id in sorted({check_repo_id(old), check_repo_id(new)}):
                locks.enter_context(self._repo(id).lock())
            source, target = self.repo(old), self._repo(new)
            if target.exists():
                raise HubError(409, f"There is a model repo {new} already")
            shutil.rmtree(target.folder, ignore_errors=True)  # left over from a crash while creating
            target.folder.parent.mkdir(parents=True, exist_ok=True)
            source.folder.rename(target.folder)
            self._change_moves({old: new, new: None})

    def moved_to(self, repo: str) -> str | None:
        """The id that a renamed repo has now; None for an id that was never renamed."""
        moves = read_json(self._moves, _MOVES) or {}
        seen = {repo}
        while (repo := moves.get(repo, repo)) not in seen:
            seen.add(repo)
        return repo if len(seen) > 1 else None

    def discussions(self, repo: Repo) -> Discussions:
        """The discussions of a repo."""
        return Discussions(repo.folder, repo.lock)

    # Files

    def entry(self, path: str, content: bytes | Path) -> Entry:
        """Keep the content of a file; returns its entry for a tree."""
        sha256 = self.blobs.put(content)
        size = self.blobs.path(sha256).stat().st_size
        if belongs_in_lfs(check_path(path), size, self.blobs.read(sha256, SAMPLE_BYTES)):
            return Entry.in_lfs(sha256, size)
        return Entry.regular(self.blobs.read(sha256))

    def commit(
        self,
        repo: str,
        files: Mapping[str, bytes | str | Path],
        message: str = "Upload",
        *,
        deleted: Iterable[str] = (),
        parent: str | None = None,
        branch: str = MAIN,
        author: str | None = None,
        moment: datetime | None = None,
    ) -> str:
        """Set files (bytes, text, or a file to copy) and delete others in one commit; returns its id.

        The repo is made if there is none. Both are dated `moment`, which carries its time zone; now if none is given.
        A 412 if `parent` is given and is not the head.
        """
        if self.find(repo) is None:
            self.create_repo(repo, author=author, moment=moment)
        entries = {
            path: self.entry(path, content.encode() if isinstance(content, str) else content)
            for path, content in files.items()
        }
        found = self.repo(repo)
        who = self.author(author or found.owner, moment)
        return found.advance(branch, Draft(Changes(entries, tuple(deleted)), who, message, parent=parent))

    def head(self, repo: str, revision: str = MAIN) -> str:
        """The id of the commit that a revision means."""
        return self.repo(repo).resolve(revision)

    def read(self, repo: str, path: str, revision: str = MAIN) -> bytes:
        """The content of a file."""
        found = self.repo(repo)
        return self.blobs.read(found.entry(path, found.resolve(revision)).sha256)

    def facts(self, repo: Repo, commit: str) -> Facts:
        """What the Hub knows of a model at a commit."""
        return self._facts(repo.id, commit)

    def model(self, repo: Repo, revision: str = MAIN, *, settings: Settings | None = None) -> Model:
        """A repo at a revision, with its facts; `settings` are the repo's, if they have been read already."""
        sha = repo.resolve(revision)
        return Model(repo, settings or repo.settings(), sha, repo.commit(sha), repo.tree(sha), self.facts(repo, sha))

    # What requests cannot set

    def set_gated(self, repo: str, gated: bool | str) -> None:
        """Gate a repo: False, "auto" or "manual"."""
        self.repo(repo).change_settings(lambda old: replace(old, gated=gated))

    def set_private(self, repo: str, private: bool) -> None:
        """Hide a repo from others, or show it."""
        self.repo(repo).change_settings(lambda old: replace(old, private=private))

    def set_downloads(self, repo: str, downloads: int) -> None:
        """Set the number of downloads; requests are not counted."""
        self.repo(repo).change_settings(lambda old: replace(old, downloads=downloads))

    def set_likes(self, repo: str, likes: int) -> None:
        """Set the number of likes."""
        self.repo(repo).change_settings(lambda old: replace(old, likes=likes))

    def set_created_at(self, repo: str, moment: datetime) -> None:
        """Set the time of a repo's creation; `moment` carries its time zone."""
        self.repo(repo).change_settings(lambda old: replace(old, created_at=_format_time(moment)))

    def set_security(self, repo: str, *, scans_done: bool, issues: Iterable[Mapping[str, str]] = ()) -> None:
        """Set the scanner's findings: each issue has "path" and "level" ("unsafe", "suspicious", ...)."""
        kept = tuple(dict(issue) for issue in issues)
        self.repo(repo).change_settings(lambda old: replace(old, scans_done=scans_done, issues=kept))

    def grant(self, repo: str, user: str) -> None:
        """Let a user into a gated repo."""
        self.repo(repo).change_settings(lambda old: replace(old, granted=tuple(dict.fromkeys([*old.granted, user]))))

    def _repo(self, repo: str) -> Repo:
        owner, _, name = repo.partition("/")
        lock = self._locks / f"{owner}--{name}.lock"  # no name contains "--", so no two repos share a lock
        return Repo(repo, self._repos / owner / name, lambda: hold_lock(lock))

    def _change_moves(self, changes: Mapping[str, str | None]) -> None:
        """Record the new ids of renamed repos; None removes a record."""
        with hold_lock(self._locks / "moves.lock"):
            before = read_json(self._moves, _MOVES) or {}
            after = {old: new for old, new in {**before, **changes}.items() if new is not None}
            if after != before:
                write_json(self._moves, after)

    def _gather_facts(self, repo: str, commit: str) -> Facts:
        return gather_facts(self.repo(repo).tree(commit), self.blobs)


def _format_time(moment: datetime) -> str:
    """A moment as the Hub writes it: ISO 8601, UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

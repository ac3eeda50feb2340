"""Everything the local Hub keeps, on one folder: accounts, blobs, repos, collections. No HTTP here."""

from __future__ import annotations

import secrets
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path

from localhub.accounts import Accounts
from localhub.blobs import Blobs
from localhub.collections import Collections
from localhub.commits import (
    GITATTRIBUTES,
    Changes,
    Entry,
    belongs_in_lfs,
    lfs_entry,
    regular_entry,
)
from localhub.discussions import Discussions
from localhub.disk import locked, read_json, write_json
from localhub.errors import HubError, entry_not_found, repo_not_found
from localhub.facts import Facts, gather
from localhub.names import check_path, check_repo_id
from localhub.repo import MAIN, Author, Refs, Repo, Settings
from localhub.senders import Senders


class Store:
    """The Hub's folder. Safe to use from several threads and processes at once.

    `now` is the clock, in UTC.
    """

    def __init__(self, root: Path | str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.root = Path(root).absolute()
        self._now = now
        self._repos = self.root / "repos"
        self._locks = self.root / "locks"
        self.accounts = Accounts(self.root)
        self.blobs = Blobs(self.root / "blobs")
        self.senders = Senders(self.root / "senders")
        self.collections = Collections(self.root / "collections", self._locks)
        self._facts = lru_cache(maxsize=4096)(self._gather)

    @cached_property
    def secret(self) -> bytes:
        """What upload addresses are signed with; made once for a folder."""
        path = self.root / "secret.json"
        with locked(self._locks / "secret.lock"):
            if not path.exists():
                write_json(path, secrets.token_hex(32))
        return bytes.fromhex(read_json(path, ""))

    def now(self) -> str:
        """The time in the Hub's form."""
        return _hub_time(self._now())

    def author(self, name: str, moment: datetime | None = None) -> Author:
        """Somebody committing at a moment, which carries its time zone; now if none is given."""
        return Author(name, _hub_time(moment or self._now()))

    # Accounts

    def add_user(self, name: str, token: str | None = None, *, full_name: str = "", admin: bool = False) -> str:
        """Make a user with a token that may write; gives the token."""
        return self.accounts.add_user(name, token, full_name=full_name, admin=admin)

    def add_org(self, name: str, members: Mapping[str, str] | Iterable[str]) -> None:
        """Make an organisation; `members` are users, each with a role ("write" where none is given)."""
        roles = dict(members) if isinstance(members, Mapping) else dict.fromkeys(members, "write")
        self.accounts.add_org(name, roles)

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
        """A new repo, made at `moment` (now if none is given), whose first commit holds .gitattributes; a 409 if
        there is one."""
        created = self._repo(check_repo_id(repo))
        first = {".gitattributes": self.entry(".gitattributes", GITATTRIBUTES.encode())}
        with created.lock():
            if created.exists():
                raise HubError(409, f"You already created this model repo: {repo}")
            shutil.rmtree(created.folder, ignore_errors=True)  # what a crash in the middle of this has left
            who = self.author(author or created.owner, moment)
            created.write_settings(Settings(private=private, gated=gated, created_at=who.date))
            commit = created.write_commit(first, (), who, "initial commit", "")
            created.write_refs(Refs(branches={MAIN: commit}))
            self._change_moves({repo: None})  # a name that is in use again leads nowhere else
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
        """Take a repo away. Its blobs stay: others may share them."""
        with self.repo(repo).lock():
            found = self.repo(repo)  # again: others may have been faster
            trash = self.root / "trash" / uuid.uuid4().hex
            trash.parent.mkdir(parents=True, exist_ok=True)
            found.folder.rename(trash)
        shutil.rmtree(trash)

    def move_repo(self, old: str, new: str) -> None:
        """Rename a repo; requests under the old name are sent on from then."""
        with ExitStack() as locks:
            for id in sorted({check_repo_id(old), check_repo_id(new)}):  # in one order, so that none wait in a ring
                locks.enter_context(self._repo(id).lock())
            source, target = self.repo(old), self._repo(new)
            if target.exists():
                raise HubError(409, f"There is a model repo {new} already")
            shutil.rmtree(target.folder, ignore_errors=True)  # what a crash while creating has left
            target.folder.parent.mkdir(parents=True, exist_ok=True)
            source.folder.rename(target.folder)
            self._change_moves({old: new, new: None})

    def moved_to(self, repo: str) -> str | None:
        """The id that a renamed repo has now, None for an id that was never renamed."""
        moves = read_json(self._moves, {})
        seen = {repo}
        while (repo := moves.get(repo, repo)) not in seen:
            seen.add(repo)
        return repo if len(seen) > 1 else None

    def discussions(self, repo: Repo) -> Discussions:
        """The discussions of a repo."""
        return Discussions(repo.folder, repo.lock)

    # Files

    def entry(self, path: str, content: bytes | Path) -> Entry:
        """Keep the bytes of a file; gives the entry for a tree."""
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        sample = content[:512] if isinstance(content, bytes) else _sample(content)
        blob = self.blobs.put(content)
        if belongs_in_lfs(check_path(path), size, sample):
            return lfs_entry(blob.sha256, blob.size)
        return regular_entry(content if isinstance(content, bytes) else content.read_bytes())

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
        """Set files (bytes, text, or a file to copy) and delete others in one commit; makes the repo if
        there is none. Both happen at `moment`, which carries its time zone; now if none is given. Gives the
        commit's id; raises a 412 if `parent` is given and is not the head."""
        if self.find(repo) is None:
            self.create_repo(repo, author=author, moment=moment)
        entries = {
            path: self.entry(path, content.encode() if isinstance(content, str) else content)
            for path, content in files.items()
        }
        found = self.repo(repo)
        who = self.author(author or found.owner, moment)
        return found.advance(branch, Changes(entries, tuple(deleted)), who, message, parent=parent)

    def head(self, repo: str, revision: str = MAIN) -> str:
        """The commit that a revision means."""
        return self.repo(repo).resolve(revision)

    def read(self, repo: str, path: str, revision: str = MAIN) -> bytes:
        """The bytes of a file."""
        found = self.repo(repo)
        commit = found.resolve(revision)
        entry = found.tree(commit).get(path)
        if entry is None:
            raise entry_not_found(path, commit)
        return self.blobs.read(entry.sha256)

    def facts(self, repo: Repo, commit: str) -> Facts:
        """What is known of a model at a commit."""
        return self._facts(repo.id, commit)

    # What only the Hub's owner sets

    def set_gated(self, repo: str, gated: bool | str) -> None:
        """Gate a repo: False, "auto" or "manual"."""
        self.repo(repo).change_settings(gated=gated)

    def set_private(self, repo: str, private: bool) -> None:
        """Hide a repo from others, or show it."""
        self.repo(repo).change_settings(private=private)

    def set_downloads(self, repo: str, downloads: int) -> None:
        """Say how often a repo was downloaded; requests do not count."""
        self.repo(repo).change_settings(downloads=downloads)

    def set_likes(self, repo: str, likes: int) -> None:
        """Say how many like a repo."""
        self.repo(repo).change_settings(likes=likes)

    def set_created_at(self, repo: str, moment: datetime) -> None:
        """Say when a repo was made; `moment` carries its time zone."""
        self.repo(repo).change_settings(created_at=_hub_time(moment))

    def set_security(self, repo: str, *, scans_done: bool, issues: Iterable[Mapping[str, str]] = ()) -> None:
        """Set the scanner's word: each issue has "path" and "level" ("unsafe", "suspicious", ...)."""
        self.repo(repo).change_settings(scans_done=scans_done, issues=tuple(dict(issue) for issue in issues))

    def grant(self, repo: str, user: str) -> None:
        """Let a user into a gated repo."""
        found = self.repo(repo)
        found.change_settings(granted=tuple(dict.fromkeys([*found.settings().granted, user])))

    @property
    def _moves(self) -> Path:
        return self.root / "moves.json"

    def _repo(self, repo: str) -> Repo:
        owner, _, name = repo.partition("/")
        lock = self._locks / f"{owner}--{name}.lock"  # "--" is in no name, so that no two repos share one
        return Repo(repo, self._repos / owner / name, lambda: locked(lock))

    def _change_moves(self, changes: Mapping[str, str | None]) -> None:
        """Say where old names lead; None for one that leads nowhere."""
        with locked(self._locks / "moves.lock"):
            before: dict[str, str] = read_json(self._moves, {})
            after = {old: new for old, new in {**before, **changes}.items() if new is not None}
            if after != before:
                write_json(self._moves, after)

    def _gather(self, repo: str, commit: str) -> Facts:
        return gather(self.repo(repo).tree(commit), self.blobs)


def _hub_time(moment: datetime) -> str:
    """A moment as the Hub writes it: ISO 8601, UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _sample(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)

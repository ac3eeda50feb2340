"""Discussions and pull requests of a repo: one small file, numbered together from 1."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import JsonValue, TypeAdapter

from localhub.errors import HubError, bad_request
from localhub.store.disk import read_json, write_json
from localhub.store.repo import Author

LONGEST_TEXT = 65_536
Event = dict[str, JsonValue]  # as the client reads it; `make_event` says which keys


@dataclass(frozen=True)
class Pull:
    """What a pull request is made of.

    base: the branch it is for.
    started_at: that branch's commit when the pull request was opened.
    first: its own first commit.
    merged_as: the commit that merged it, or None.
    """

    base: str
    started_at: str
    first: str
    merged_as: str | None = None


@dataclass(frozen=True)
class Thread:
    """A discussion or, if it has a `pull`, a pull request. `status` is "open", "closed" or "merged"."""

    num: int
    title: str
    author: str
    created_at: str
    status: str
    pull: Pull | None
    events: list[Event]


_THREADS = TypeAdapter(list[Thread])


class Discussions:
    """The file `discussions.json` of one repo. `lock` gives the repo's lock."""

    def __init__(self, folder: Path, lock: Callable[[], AbstractContextManager[None]]) -> None:
        self._path = folder / "discussions.json"
        self._lock = lock

    def all(self) -> list[Thread]:
        """All threads, newest first."""
        threads = read_json(self._path, _THREADS) or []
        return sorted(threads, key=lambda thread: -thread.num)

    def get(self, number: int) -> Thread:
        """One thread; a 404 if there is none of this number."""
        for thread in self.all():
            if thread.num == number:
                return thread
        raise HubError(404, f"There is no discussion {number}")

    def open(self, title: str, text: str, author: Author, start_pull: Callable[[int], Pull] | None = None) -> Thread:
        """Start a thread. For a pull request, `start_pull` makes the reference for its number, under the lock."""
        if not title.strip():
            raise bad_request("Invalid title '': a discussion needs one")
        with self._lock():
            threads = self.all()
            number = 1 + max((thread.num for thread in threads), default=0)
            thread = Thread(
                num=number,
                title=title.strip()[:200],
                author=author.name,
                created_at=author.date,
                status="open",
                pull=start_pull(number) if start_pull else None,
                events=[make_comment(text, author)],
            )
            write_json(self._path, [*threads, thread])
        return thread

    def add(self, number: int, *events: Event, status: str | None = None) -> None:
        """Append events to a thread, and set its status if one is given."""
        with self._lock():
            thread = self.get(number)
            self.replace(replace(thread, status=status or thread.status, events=[*thread.events, *events]))

    def replace(self, thread: Thread) -> None:
        """Write a thread in place of the one with its number; the caller holds the lock."""
        write_json(self._path, [*(other for other in self.all() if other.num != thread.num), thread])


def make_comment(text: str, author: Author) -> Event:
    """The event of somebody writing a text in a thread."""
    if len(text) > LONGEST_TEXT:
        raise bad_request(f"Comment too long: {len(text)} characters, at most {LONGEST_TEXT}")
    return make_event("comment", author, {"edited": False, "hidden": False, "latest": {"raw": text}})


def make_event(kind: str, author: Author, data: dict[str, JsonValue]) -> Event:
    """An event of a thread; `kind` is "comment" or "status-change"."""
    return {
        "id": secrets.token_hex(12),
        "type": kind,
        "createdAt": author.date,
        "author": {"name": author.name},
        "data": data,
    }

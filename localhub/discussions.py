"""Discussions and pull requests of a repo: one small file, numbered together from 1."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from localhub.disk import read_json, write_json
from localhub.errors import HubError, bad_request
from localhub.repo import Author

LONGEST_TEXT = 65_536


class Discussions:
    """The file `discussions.json` of one repo. Writers must hold the repo's lock; `changing` takes it."""

    def __init__(self, folder: Path, lock: Callable[[], AbstractContextManager[None]]) -> None:
        self._path = folder / "discussions.json"
        self._lock = lock

    def all(self) -> list[dict[str, Any]]:
        """All threads, newest first."""
        return sorted(read_json(self._path, []), key=lambda thread: -thread["num"])

    def get(self, number: int) -> dict[str, Any]:
        """One thread; raises a 404."""
        for thread in self.all():
            if thread["num"] == number:
                return thread
        raise HubError(404, f"There is no discussion {number}")

    def open(
        self, title: str, text: str, author: Author, start_pull: Callable[[int], dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """Start a thread. For a pull request `start_pull` makes its reference and gives what is kept of
        it."""
        if not title.strip():
            raise bad_request("Invalid title '': a discussion needs one")
        with self._lock():
            threads = self.all()
            number = 1 + max((thread["num"] for thread in threads), default=0)
            thread: dict[str, Any] = {
                "num": number,
                "title": title.strip()[:200],
                "author": author.name,
                "created_at": author.date,
                "status": "open",
                "pull": start_pull(number) if start_pull else None,
                "events": [comment(text, author)],
            }
            write_json(self._path, [*threads, thread])
        return thread

    def add(self, number: int, *events: dict[str, Any], **changes: Any) -> None:
        """Append events to a thread and set some of its fields."""
        with self._lock():
            self.add_unlocked(number, *events, **changes)

    def add_unlocked(self, number: int, *events: dict[str, Any], **changes: Any) -> None:
        """The same for a caller that holds the lock already."""
        thread = self.get(number)
        thread.update(changes, events=[*thread["events"], *events])
        write_json(self._path, [*(other for other in self.all() if other["num"] != number), thread])


def comment(text: str, author: Author) -> dict[str, Any]:
    """The event of somebody saying something."""
    if len(text) > LONGEST_TEXT:
        raise bad_request(f"Comment too long: {len(text)} characters, at most {LONGEST_TEXT}")
    data = {"edited": False, "hidden": False, "latest": {"raw": text}}
    return event("comment", author, data)


def event(kind: str, author: Author, data: dict[str, Any]) -> dict[str, Any]:
    """Something that happened in a thread, as the client reads it."""
    return {
        "id": secrets.token_hex(12),
        "type": kind,
        "createdAt": author.date,
        "author": {"name": author.name},
        "data": data,
    }

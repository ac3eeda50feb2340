"""The webhooks that users have set up, in one small file."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from localhub.errors import HubError
from localhub.store.disk import hold_lock, read_json, write_json

DOMAINS = ("repo", "discussion")
"""What a webhook can be told of: changes of repos, and what people write there."""


@dataclass(frozen=True)
class WatchedItem:
    """A user, an organisation ("org") or one repo ("model", "dataset" or "space") that a webhook watches."""

    type: str
    name: str

    def covers(self, repo: str) -> bool:
        """Whether a model is the one that is watched, or belongs to the watched owner."""
        if self.type in ("user", "org"):
            return repo.startswith(f"{self.name}/")
        return self.type == "model" and repo == self.name


@dataclass(frozen=True)
class Webhook:
    """A webhook: whose it is, where it calls, and what it watches. A disabled one is kept and not called."""

    id: str
    user: str
    url: str
    watched: tuple[WatchedItem, ...]
    domains: tuple[str, ...]
    secret: str | None
    disabled: bool = False

    def wants(self, repo: str, scope: str) -> bool:
        """Whether an event of this scope in a repo is to be told."""
        domain = "discussion" if scope.startswith("discussion") else "repo"
        return not self.disabled and domain in self.domains and any(item.covers(repo) for item in self.watched)


_WEBHOOKS = TypeAdapter(list[Webhook])


class Webhooks:
    """The file of all webhooks. Safe to use from several threads and processes at once."""

    def __init__(self, root: Path) -> None:
        self._path = root / "webhooks.json"
        self._lock = root / "locks" / "webhooks.lock"

    def all(self) -> list[Webhook]:
        """All webhooks, the oldest first."""
        return read_json(self._path, _WEBHOOKS) or []

    def of(self, user: str) -> list[Webhook]:
        """The webhooks of a user."""
        return [one for one in self.all() if one.user == user]

    def get(self, user: str, id: str) -> Webhook:
        """One webhook; a 404 if the user has none with this id."""
        for one in self.of(user):
            if one.id == id:
                return one
        raise HubError(404, f"There is no webhook {id[:80]!r}")

    def add(
        self, user: str, url: str, watched: Sequence[WatchedItem], domains: Sequence[str], secret: str | None
    ) -> Webhook:
        """Keep a new webhook."""
        made = Webhook(secrets.token_hex(12), user, url, tuple(watched), tuple(domains), secret)
        with hold_lock(self._lock):
            write_json(self._path, [*self.all(), made])
        return made

    def change(self, user: str, id: str, change: Callable[[Webhook], Webhook]) -> Webhook:
        """Replace a webhook by what `change` makes of it; a 404 as `get`."""
        with hold_lock(self._lock):
            changed = change(self.get(user, id))
            write_json(self._path, [changed if one.id == id else one for one in self.all()])
        return changed

    def set_disabled(self, user: str, id: str, disabled: bool) -> Webhook:
        """Stop calling a webhook, or call it again."""
        return self.change(user, id, lambda old: replace(old, disabled=disabled))

    def delete(self, user: str, id: str) -> None:
        """Forget a webhook; a 404 as `get`."""
        with hold_lock(self._lock):
            self.get(user, id)
            write_json(self._path, [one for one in self.all() if one.id != id])

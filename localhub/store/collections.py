"""Collections: named lists of models, each in a file of its own."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from pydantic import TypeAdapter

from localhub.errors import HubError, bad_request
from localhub.names import check_owner, is_name
from localhub.store.disk import hold_lock, read_json, write_json

LONGEST_TITLE = 60
LONGEST_DESCRIPTION = 150
LONGEST_NOTE = 500


@dataclass(frozen=True)
class Item:
    """A model in a collection; `_id` names the item, `id` the model, as on the wire."""

    _id: str
    id: str
    type: str
    note: str | None


@dataclass(frozen=True)
class Collection:
    """A collection; `slug` is `owner/title-<24 hex digits>`, `last_updated` is in ISO 8601, UTC."""

    slug: str
    title: str
    description: str | None
    owner: str
    private: bool
    theme: str
    last_updated: str
    items: list[Item]

    def with_item(self, id: str, type: str, note: str | None) -> Collection:
        """With one more item at the end; a 409 if it is there already."""
        if any((item.id, item.type) == (id, type) for item in self.items):
            raise HubError(409, f"{type} {id} is in the collection already")
        return replace(self, items=[*self.items, Item(secrets.token_hex(12), id, type, note)])

    def with_changed_item(self, item_id: str, *, note: str | None, position: int | None) -> Collection:
        """With an item's note and position set, where they are not None; a 404 if there is no such item."""
        item = self._find(item_id)
        place = self.items.index(item) if position is None else max(0, position)
        others = self.without_item(item_id).items
        return replace(
            self, items=[*others[:place], item if note is None else replace(item, note=note), *others[place:]]
        )

    def without_item(self, item_id: str) -> Collection:
        """Without an item; a 404 if there is no such item."""
        gone = self._find(item_id)
        return replace(self, items=[item for item in self.items if item is not gone])

    def _find(self, item_id: str) -> Item:
        for item in self.items:
            if item._id == item_id:
                return item
        raise HubError(404, f"The collection has no item {item_id[:80]!r}")


_COLLECTION = TypeAdapter(Collection)


class Collections:
    """The folder of collections. Only the digits of a slug count, so a link survives a change of the title."""

    def __init__(self, folder: Path, locks: Path, now: Callable[[], str]) -> None:
        self._folder = folder
        self._lock = locks / "collections.lock"
        self._now = now

    def all(self) -> list[Collection]:
        """All collections, the one changed last first."""
        found = [read_json(path, _COLLECTION) for path in self._folder.glob("*/*.json")]
        return sorted(filter(None, found), key=lambda collection: collection.last_updated, reverse=True)

    def get(self, slug: str) -> Collection:
        """One collection; a 404 if there is none."""
        collection = read_json(self._path(slug), _COLLECTION)
        if collection is None:
            raise HubError(404, f"Collection not found: {slug}")
        return collection

    def create(self, owner: str, title: str, *, description: str | None, private: bool) -> Collection:
        """Make a collection. An owner may have several of one title, as on the real Hub's staging server."""
        if not 1 <= len(title.strip()) <= LONGEST_TITLE:
            raise bad_request(f"Invalid title {title[:80]!r}: between 1 and {LONGEST_TITLE} characters")
        _check_length("description", description, LONGEST_DESCRIPTION)
        check_owner(owner)
        with hold_lock(self._lock):
            slugs = (_make_slug(owner, title, number) for number in count())
            slug = next(slug for slug in slugs if not self._path(slug).exists())
            made = Collection(slug, title.strip(), description, owner, private, "indigo", self._now(), [])
            write_json(self._path(slug), made)
        return made

    def change(self, slug: str, change: Callable[[Collection], Collection]) -> Collection:
        """Replace a collection by what `change` makes of it, under the lock."""
        with hold_lock(self._lock):
            changed = replace(change(self.get(slug)), last_updated=self._now())
            _check_length("description", changed.description, LONGEST_DESCRIPTION)
            for item in changed.items:
                _check_length("note", item.note, LONGEST_NOTE)
            write_json(self._path(slug), changed)
        return changed

    def delete(self, slug: str) -> None:
        """Delete a collection; a 404 if there is none."""
        with hold_lock(self._lock):
            self.get(slug)
            self._path(slug).unlink()

    def _path(self, slug: str) -> Path:
        owner, _, rest = slug.partition("/")
        digits = rest.rpartition("-")[2]
        if not is_name(owner) or not re.fullmatch(r"[0-9a-f]{24}", digits):
            raise HubError(404, f"Collection not found: {slug[:200]}")
        return self._folder / owner / f"{digits}.json"


def _make_slug(owner: str, title: str, number: int) -> str:
    """The slug of the owner's collection of this title that is the `number`-th, counted from 0."""
    key = title.strip().lower()
    text = re.sub(r"[^a-z0-9]+", "-", key).strip("-") or "collection"
    return f"{owner}/{text}-{hashlib.sha256(f'{owner}/{key}/{number}'.encode()).hexdigest()[:24]}"


def _check_length(name: str, text: str | None, longest: int) -> None:
    if text is not None and len(text) > longest:
        raise bad_request(f"Invalid {name}: {len(text)} characters, at most {longest}")

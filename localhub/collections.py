"""Collections: named lists of repos, each in a file of its own."""

from __future__ import annotations

import hashlib
import re
import secrets
from pathlib import Path
from typing import Any

from localhub.disk import locked, read_json, write_json
from localhub.errors import HubError, bad_request
from localhub.names import check_owner, is_name

LONGEST_TITLE = 60
LONGEST_DESCRIPTION = 150
LONGEST_NOTE = 500


class Collections:
    """The folder of collections. A slug is `owner/title-<24 hex digits>`: only the digits count."""

    def __init__(self, folder: Path, locks: Path) -> None:
        self._folder = folder
        self._lock = locks / "collections.lock"

    def all(self) -> list[dict[str, Any]]:
        """All collections, the one changed last first."""
        read = (read_json(path, None) for path in self._folder.glob("*/*.json"))
        found = [value for value in read if value is not None]
        return sorted(found, key=lambda value: value["last_updated"], reverse=True)

    def get(self, slug: str) -> dict[str, Any]:
        """One collection; raises a 404."""
        value: dict[str, Any] | None = read_json(self._path(slug), None)
        if value is None:
            raise HubError(404, f"Collection not found: {slug}")
        return value

    def create(self, owner: str, title: str, now: str, *, description: str | None, private: bool) -> dict[str, Any]:
        """A new collection; a 409 that names the slug if this owner has one of that title."""
        if not 1 <= len(title.strip()) <= LONGEST_TITLE:
            raise bad_request(f"Invalid title {title[:80]!r}: between 1 and {LONGEST_TITLE} characters")
        _check_length("description", description, LONGEST_DESCRIPTION)
        slug = _slug(check_owner(owner), title)
        with locked(self._lock):
            if self._path(slug).exists():
                raise HubError(409, f"Collection {title!r} exists already", body={"slug": slug})
            value: dict[str, Any] = {
                "slug": slug,
                "title": title.strip(),
                "description": description,
                "owner": owner,
                "private": private,
                "theme": "indigo",
                "last_updated": now,
                "items": [],
            }
            write_json(self._path(slug), value)
        return value

    def update(self, slug: str, now: str, **changes: Any) -> dict[str, Any]:
        """Set some fields of a collection."""
        _check_length("description", changes.get("description"), LONGEST_DESCRIPTION)
        with locked(self._lock):
            value = {**self.get(slug), **changes, "last_updated": now}
            write_json(self._path(slug), value)
        return value

    def delete(self, slug: str) -> None:
        """Take a collection away; a 404 if there is none."""
        with locked(self._lock):
            self.get(slug)
            self._path(slug).unlink()

    def add_item(self, slug: str, now: str, *, id: str, type: str, note: str | None) -> dict[str, Any]:
        """Append an item; a 409 if it is there already."""
        _check_length("note", note, LONGEST_NOTE)
        with locked(self._lock):
            value = self.get(slug)
            if any(item["id"] == id and item["type"] == type for item in value["items"]):
                raise HubError(409, f"{type} {id} is in the collection already")
            item = {"_id": secrets.token_hex(12), "id": id, "type": type, "note": note}
            value = {**value, "items": [*value["items"], item], "last_updated": now}
            write_json(self._path(slug), value)
        return value

    def change_item(self, slug: str, now: str, item_id: str, *, note: str | None, position: int | None) -> None:
        """Set an item's note, and move it to a position."""
        _check_length("note", note, LONGEST_NOTE)
        with locked(self._lock):
            value = self.get(slug)
            item = _item(value, item_id)
            others = [other for other in value["items"] if other is not item]
            place = value["items"].index(item) if position is None else max(0, position)
            others.insert(place, item if note is None else {**item, "note": note})
            write_json(self._path(slug), {**value, "items": others, "last_updated": now})

    def delete_item(self, slug: str, now: str, item_id: str) -> None:
        """Take an item out; a 404 if it is not there."""
        with locked(self._lock):
            value = self.get(slug)
            item = _item(value, item_id)
            items = [other for other in value["items"] if other is not item]
            write_json(self._path(slug), {**value, "items": items, "last_updated": now})

    def _path(self, slug: str) -> Path:
        owner, _, rest = slug.partition("/")
        digits = rest.rpartition("-")[2]
        if not is_name(owner) or not re.fullmatch(r"[0-9a-f]{24}", digits):
            raise HubError(404, f"Collection not found: {slug[:200]}")
        return self._folder / owner / f"{digits}.json"


def _slug(owner: str, title: str) -> str:
    key = title.strip().lower()
    text = re.sub(r"[^a-z0-9]+", "-", key).strip("-") or "collection"
    return f"{owner}/{text}-{hashlib.sha256(f'{owner}/{key}'.encode()).hexdigest()[:24]}"


def _item(value: dict[str, Any], item_id: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = [item for item in value["items"] if item["_id"] == item_id]
    if found:
        return found[0]
    raise HubError(404, f"The collection has no item {item_id[:80]!r}")


def _check_length(name: str, text: str | None, longest: int) -> None:
    if text is not None and len(text) > longest:
        raise bad_request(f"Invalid {name}: {len(text)} characters, at most {longest}")

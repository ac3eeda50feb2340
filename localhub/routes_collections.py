"""Collections over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from localhub.access import Asking, Caller
from localhub.errors import HubError, bad_request
from localhub.views import object_id

router = APIRouter(prefix="/api/collections")


class NewCollection(BaseModel):
    """A collection to be made."""

    title: str
    namespace: str
    description: str | None = None
    private: bool = False


class CollectionChanges(BaseModel):
    """Fields of a collection to be set."""

    title: str | None = None
    description: str | None = None
    private: bool | None = None
    theme: str | None = None


class ItemName(BaseModel):
    """What an item stands for."""

    id: str
    type: str


class NewItem(BaseModel):
    """An item to be appended."""

    item: ItemName
    note: str | None = None


class ItemChanges(BaseModel):
    """Fields of an item to be set."""

    note: str | None = None
    position: int | None = None


@router.get("")
def collections(
    caller: Asking,
    owner: Annotated[list[str], Query()] = [],  # noqa: B006  FastAPI copies it
    item: Annotated[list[str], Query()] = [],  # noqa: B006  FastAPI copies it
    limit: Annotated[int, Query(ge=1, le=100)] = 100,
) -> JSONResponse:
    """Collections of some owners, or with some items ("models/owner/name"); the one changed last first."""

    def wanted(value: dict[str, Any]) -> bool:
        held = {f"{entry['type']}s/{entry['id']}" for entry in value["items"]}
        return (not owner or value["owner"] in owner) and (not item or bool(held & set(item)))

    shown = [_fields(value) for value in visible_collections(caller) if wanted(value)][:limit]
    for value in shown:
        del value["position"]  # in a list the client counts for itself
    return JSONResponse(shown)


@router.post("")
def create(caller: Asking, request: NewCollection) -> dict[str, Any]:
    """A new collection; a 409 that carries the slug if it exists."""
    caller.check_writes(request.namespace, f"create a collection under the namespace {request.namespace}")
    value = caller.store.collections.create(
        request.namespace,
        request.title,
        caller.store.now(),
        description=request.description,
        private=request.private,
    )
    return _shown(caller, value)


@router.get("/{owner}/{slug}")
def collection(caller: Asking, owner: str, slug: str) -> dict[str, Any]:
    """One collection with its items."""
    return _shown(caller, readable(caller, owner, slug))


@router.patch("/{owner}/{slug}")
def update(caller: Asking, owner: str, slug: str, request: CollectionChanges) -> dict[str, Any]:
    """Set some fields of a collection."""
    value = _writable(caller, owner, slug)
    changes = request.model_dump(exclude_none=True)
    return {"data": _shown(caller, caller.store.collections.update(value["slug"], caller.store.now(), **changes))}


@router.delete("/{owner}/{slug}")
def delete(caller: Asking, owner: str, slug: str) -> dict[str, str]:
    """Take a collection away; its repos stay."""
    caller.store.collections.delete(_writable(caller, owner, slug)["slug"])
    return {"message": "ok"}


@router.post("/{owner}/{slug}/items")
def add_item(caller: Asking, owner: str, slug: str, request: NewItem) -> dict[str, Any]:
    """Append a model; a 409 if it is there already."""
    value = _writable(caller, owner, slug)
    if request.item.type != "model":
        raise bad_request(f"Invalid item type {request.item.type!r}: the local Hub keeps models only")
    repo = caller.readable(*_halves(request.item.id))
    value = caller.store.collections.add_item(
        value["slug"], caller.store.now(), id=repo.id, type="model", note=request.note
    )
    return _shown(caller, value)


@router.patch("/{owner}/{slug}/items/{item}")
def change_item(caller: Asking, owner: str, slug: str, item: str, request: ItemChanges) -> dict[str, str]:
    """Set an item's note or position."""
    value = _writable(caller, owner, slug)
    caller.store.collections.change_item(
        value["slug"], caller.store.now(), item, note=request.note, position=request.position
    )
    return {"message": "ok"}


@router.delete("/{owner}/{slug}/items/{item}")
def delete_item(caller: Asking, owner: str, slug: str, item: str) -> dict[str, str]:
    """Take an item out."""
    caller.store.collections.delete_item(_writable(caller, owner, slug)["slug"], caller.store.now(), item)
    return {"message": "ok"}


def readable(caller: Caller, owner: str, slug: str) -> dict[str, Any]:
    """The collection with all its items; a 404 if it is absent or private to others."""
    value = caller.store.collections.get(f"{owner}/{slug}")
    if not _sees(caller, value):
        raise HubError(404, f"Collection not found: {owner}/{slug}")
    return value


def visible_collections(caller: Caller) -> list[dict[str, Any]]:
    """The collections that exist for the caller, the one changed last first, as the caller may see them."""
    return _visible(caller, [value for value in caller.store.collections.all() if _sees(caller, value)])


def visible(caller: Caller, value: dict[str, Any]) -> dict[str, Any]:
    """The collection with those of its items whose repos exist for the caller."""
    return _visible(caller, [value])[0]


def _visible(caller: Caller, values: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    ids = {repo.id for repo, _ in caller.visible()}
    return [{**value, "items": [item for item in value["items"] if item["id"] in ids]} for value in values]


def _halves(id: str) -> tuple[str, str]:
    owner, _, name = id.partition("/")
    return owner, name


def _sees(caller: Caller, value: dict[str, Any]) -> bool:
    return not value["private"] or (caller.identity is not None and caller.identity.reads(value["owner"]))


def _writable(caller: Caller, owner: str, slug: str) -> dict[str, Any]:
    value = readable(caller, owner, slug)
    caller.check_writes(value["owner"], f"change the collection {value['slug']}")
    return value


def _shown(caller: Caller, value: dict[str, Any]) -> dict[str, Any]:
    return _fields(visible(caller, value))


def _fields(value: dict[str, Any]) -> dict[str, Any]:
    items = []
    for position, item in enumerate(value["items"]):
        note = {"note": {"text": item["note"], "html": ""}} if item["note"] else {}
        items.append({"_id": item["_id"], "id": item["id"], "type": item["type"], "position": position, **note})
    return {
        "slug": value["slug"],
        "title": value["title"],
        "description": value["description"],
        "owner": {"_id": object_id(value["owner"]), "name": value["owner"], "type": "user"},
        "position": 0,
        "private": value["private"],
        "theme": value["theme"],
        "upvotes": 0,
        "lastUpdated": value["last_updated"],
        "items": items,
    }

"""Routes of collections."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Body, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, JsonValue

from localhub.errors import bad_request
from localhub.protocol.access import BodyText, Caller, CurrentCaller
from localhub.protocol.json_views import JsonObject, make_object_id
from localhub.store.accounts import COLLECTION_WRITE
from localhub.store.collections import Collection

router = APIRouter(prefix="/api/collections")


class CollectionChanges(BaseModel):
    """Fields of a collection to be set."""

    title: str | None = None
    description: str | None = None
    private: bool | None = None
    theme: str | None = None


class ItemName(BaseModel):
    """The repo of an item, and its type."""

    id: str
    type: str


@router.get("")
def list_collections(
    caller: CurrentCaller,
    owner: Annotated[list[str], Query()] = [],  # noqa: B006  FastAPI copies it
    item: Annotated[list[str], Query()] = [],  # noqa: B006  FastAPI copies it
    limit: Annotated[int, Query(ge=1, le=100)] = 100,
) -> JSONResponse:
    """Collections of some owners, or with some items ("models/owner/name"); the one changed last first."""

    def is_wanted(collection: Collection) -> bool:
        held = {f"{entry.type}s/{entry.id}" for entry in collection.items}
        return (not owner or collection.owner in owner) and (not item or bool(held & set(item)))

    shown = [_describe_fields(collection) for collection in caller.visible_collections() if is_wanted(collection)]
    for collection in shown:
        del collection["position"]  # the client adds its own while it goes through a list
    return JSONResponse(shown[:limit])


@router.post("")
def create_collection(
    caller: CurrentCaller,
    title: BodyText,
    namespace: BodyText,
    description: Annotated[str | None, Body()] = None,
    private: Annotated[bool, Body()] = False,
) -> JsonObject:
    """Make a collection."""
    action = f"create a collection under the namespace {namespace}"
    caller.check_writes(namespace, action, right=COLLECTION_WRITE)
    made = caller.store.collections.create(namespace, title, description=description, private=private)
    return _describe_collection(caller, made)


@router.get("/{owner}/{slug}")
def get_collection(caller: CurrentCaller, owner: str, slug: str) -> JsonObject:
    """One collection with its items."""
    return _describe_collection(caller, caller.whole_collection(owner, slug))


@router.patch("/{owner}/{slug}")
def update_collection(caller: CurrentCaller, owner: str, slug: str, request: CollectionChanges) -> JsonObject:
    """Set some fields of a collection."""
    slug = _check_writable(caller, owner, slug)
    changes = request.model_dump(exclude_none=True)
    changed = caller.store.collections.change(slug, lambda old: replace(old, **changes))
    return {"data": _describe_collection(caller, changed)}


@router.delete("/{owner}/{slug}")
def delete_collection(caller: CurrentCaller, owner: str, slug: str) -> dict[str, str]:
    """Delete a collection; its repos stay."""
    caller.store.collections.delete(_check_writable(caller, owner, slug))
    return {"message": "ok"}


@router.post("/{owner}/{slug}/items")
def add_item(
    caller: CurrentCaller,
    owner: str,
    slug: str,
    item: Annotated[ItemName, Body()],
    note: Annotated[str | None, Body()] = None,
) -> JsonObject:
    """Append a model; a 409 if it is there already."""
    slug = _check_writable(caller, owner, slug)
    if item.type != "model":
        raise bad_request(f"Invalid item type {item.type!r}: the local Hub keeps models only")
    repo_owner, _, name = item.id.partition("/")
    repo = caller.visible_repo(repo_owner, name)
    changed = caller.store.collections.change(slug, lambda old: old.with_item(repo.id, item.type, note))
    return _describe_collection(caller, changed)


@router.patch("/{owner}/{slug}/items/{item}")
def update_item(
    caller: CurrentCaller,
    owner: str,
    slug: str,
    item: str,
    note: Annotated[str | None, Body()] = None,
    position: Annotated[int | None, Body()] = None,
) -> dict[str, str]:
    """Set an item's note or position."""
    slug = _check_writable(caller, owner, slug)
    caller.store.collections.change(slug, lambda old: old.with_changed_item(item, note=note, position=position))
    return {"message": "ok"}


@router.delete("/{owner}/{slug}/items/{item}")
def delete_item(caller: CurrentCaller, owner: str, slug: str, item: str) -> dict[str, str]:
    """Take an item out."""
    slug = _check_writable(caller, owner, slug)
    caller.store.collections.change(slug, lambda old: old.without_item(item))
    return {"message": "ok"}


def _check_writable(caller: Caller, owner: str, slug: str) -> str:
    """The full slug of a collection that the caller may change."""
    collection = caller.whole_collection(owner, slug)
    caller.check_writes(collection.owner, f"change the collection {collection.slug}", right=COLLECTION_WRITE)
    return collection.slug


def _describe_collection(caller: Caller, collection: Collection) -> JsonObject:
    return _describe_fields(caller.without_hidden_items([collection])[0])


def _describe_fields(collection: Collection) -> JsonObject:
    items: list[JsonValue] = []
    for position, item in enumerate(collection.items):
        shown: JsonObject = {"_id": item._id, "id": item.id, "type": item.type, "position": position}
        if item.note:
            shown["note"] = {"text": item.note, "html": ""}
        items.append(shown)
    return {
        "slug": collection.slug,
        "title": collection.title,
        "description": collection.description,
        "owner": {"_id": make_object_id(collection.owner), "name": collection.owner, "type": "user"},
        "position": 0,
        "private": collection.private,
        "theme": collection.theme,
        "upvotes": 0,
        "lastUpdated": collection.last_updated,
        "items": items,
    }

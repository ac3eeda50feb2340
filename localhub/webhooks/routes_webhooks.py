"""Routes of webhooks, and of the public pages of users and organisations, whose type a webhook has to name."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter
from pydantic import BaseModel, Field, JsonValue

from localhub.errors import HubError, bad_request
from localhub.names import check_owner, check_repo_id
from localhub.protocol.access import Caller, CurrentCaller
from localhub.protocol.json_views import JsonObject
from localhub.store.accounts import WEBHOOKS_READ, WEBHOOKS_WRITE
from localhub.webhooks.kept import DOMAINS, WatchedItem, Webhook, Webhooks

router = APIRouter(prefix="/api")

_SETTINGS = "/settings/webhooks"


class WatchedName(BaseModel):
    """What to watch, as the client names it."""

    type: Literal["user", "org", "model", "dataset", "space", "bucket"]
    name: str


class WebhookRequest(BaseModel):
    """A webhook to be made, or its keys to be changed."""

    watched: Annotated[list[WatchedName], Field(min_length=1)]
    url: str | None = None
    domains: list[Literal["repo", "discussion"]] | None = None
    secret: str | None = None
    jobSourceId: str | None = None  # noqa: N815  as sent


@router.get(_SETTINGS)
def list_webhooks(caller: CurrentCaller) -> list[JsonObject]:
    """The caller's webhooks."""
    return [_describe(one) for one in _webhooks(caller).of(_check_right(caller, WEBHOOKS_READ))]


@router.post(_SETTINGS)
def create_webhook(caller: CurrentCaller, request: WebhookRequest) -> JsonObject:
    """Make a webhook."""
    user = _check_right(caller, WEBHOOKS_WRITE)
    if request.url is None:
        raise bad_request("Invalid url None: the local Hub calls addresses, and runs no Jobs")
    watched = _check_request(caller, request)
    return _answer(_webhooks(caller).add(user, request.url, watched, request.domains or DOMAINS, request.secret))


@router.get(f"{_SETTINGS}/{{id}}")
def get_webhook(caller: CurrentCaller, id: str) -> JsonObject:
    """One webhook."""
    return _answer(_webhooks(caller).get(_check_right(caller, WEBHOOKS_READ), id))


@router.post(f"{_SETTINGS}/{{id}}")
def update_webhook(caller: CurrentCaller, id: str, request: WebhookRequest) -> JsonObject:
    """Change a webhook; what the request leaves out stays, but for `watched`, which is always sent."""
    user, watched = _check_right(caller, WEBHOOKS_WRITE), _check_request(caller, request)

    def change(old: Webhook) -> Webhook:
        return replace(
            old,
            watched=watched,
            url=request.url or old.url,
            domains=tuple(request.domains or old.domains),
            secret=old.secret if request.secret is None else request.secret,
        )

    return _answer(_webhooks(caller).change(user, id, change))


@router.post(f"{_SETTINGS}/{{id}}/{{order}}")
def switch_webhook(caller: CurrentCaller, id: str, order: Literal["enable", "disable"]) -> JsonObject:
    """Stop calling a webhook, or call it again."""
    return _answer(_webhooks(caller).set_disabled(_check_right(caller, WEBHOOKS_WRITE), id, order == "disable"))


@router.delete(f"{_SETTINGS}/{{id}}")
def delete_webhook(caller: CurrentCaller, id: str) -> dict[str, bool]:
    """Forget a webhook."""
    _webhooks(caller).delete(_check_right(caller, WEBHOOKS_WRITE), id)
    return {"success": True}


@router.get("/users/{name}/overview")
def get_user(caller: CurrentCaller, name: str) -> JsonObject:
    """A user's public page. Whoever owns a repo and has no account here passes for a user."""
    if _find_type(caller, name) != "user":
        raise HubError(404, f"There is no user {name[:80]!r}")
    return {"user": name, "fullname": name, "avatarUrl": "", "type": "user"}


@router.get("/organizations/{name}/overview")
def get_organisation(caller: CurrentCaller, name: str) -> JsonObject:
    """An organisation's public page."""
    if _find_type(caller, name) != "org":
        raise HubError(404, f"There is no organisation {name[:80]!r}")
    return {"name": name, "fullname": name, "avatarUrl": "", "type": "org"}


def _webhooks(caller: Caller) -> Webhooks:
    return caller.deliveries.webhooks


def _check_right(caller: Caller, right: str) -> str:
    """The caller's name, if their token may read, or write, their webhooks."""
    identity = caller.require_identity()
    allowed = identity.allows(right) and (right == WEBHOOKS_READ or identity.role != "read")
    if not allowed:
        raise HubError(403, f"You don't have the rights to manage webhooks: the token has no {right}")
    return identity.name


def _check_request(caller: Caller, request: WebhookRequest) -> tuple[WatchedItem, ...]:
    """What is to be watched; a 400 for an address that cannot be called, or for too much."""
    most = caller.limits.watched_items
    if len(request.watched) > most:
        raise bad_request(f"Invalid watched: {len(request.watched)} items, a webhook watches at most {most}")
    if request.url is not None and urlsplit(request.url).scheme not in ("http", "https"):
        raise bad_request(f"Invalid url {request.url[:200]!r}: it must begin with https://")
    if request.secret is not None and not request.secret.isascii():
        raise bad_request("Invalid secret: only ASCII characters are supported")
    return tuple(_check_item(caller, item) for item in request.watched)


def _check_item(caller: Caller, item: WatchedName) -> WatchedItem:
    if item.type in ("user", "org"):
        found = _find_type(caller, check_owner(item.name))
        if found != item.type:
            what = f"it is of type {found}" if found else "there is none"
            raise bad_request(f"Invalid watched {item.type} {item.name!r}: {what}")
    elif item.type != "bucket":
        check_repo_id(item.name)
    return WatchedItem(item.type, item.name)


def _find_type(caller: Caller, name: str) -> str | None:
    """ "user" or "org"; None for a name that nobody has."""
    known = caller.store.accounts.find_type(name)
    owns = any(repo.owner == name for repo, _ in caller.visible_repos()) if known is None else False
    return "user" if owns else known


def _describe(webhook: Webhook) -> JsonObject:
    watched: list[JsonValue] = [{"type": item.type, "name": item.name} for item in webhook.watched]
    return {
        "id": webhook.id,
        "url": webhook.url,
        "watched": watched,
        "domains": list(webhook.domains),
        "secret": webhook.secret,
        "disabled": webhook.disabled,
    }


def _answer(webhook: Webhook) -> JsonObject:
    return {"webhook": _describe(webhook)}

"""Pages for people: the models, one model's card, files and history, its discussions, collections."""

from __future__ import annotations

from itertools import islice
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

import templates
from localhub import views
from localhub.access import Asking, Caller
from localhub.errors import HubError, entry_not_found
from localhub.history import last_change, last_changes
from localhub.listing import Query, page
from localhub.markup import card_html
from localhub.repo import MAIN, Repo
from localhub.routes_collections import readable as readable_collection
from localhub.routes_collections import visible, visible_collections
from localhub.routes_models import model_at, visible_models

router = APIRouter(include_in_schema=False)
STYLE = "/-/style.css"
SHOWN_BYTES = 256 * 1024
SHOWN_COMMITS = 200
SHOWN_MODELS = 200
_POLICY = "default-src 'none'; img-src 'self' https: data:; style-src 'self' 'unsafe-inline'; form-action 'self'"


def wanted_by(request: Request) -> bool:
    """Whether a request comes from a browser that would like a page."""
    api = request.url.path.startswith(("/api/", "/uploads/")) or "/resolve/" in request.url.path
    return request.method == "GET" and not api and "text/html" in request.headers.get("accept", "")


def error_page(error: HubError) -> Response:
    """An error that a person can read."""
    message = "There is nothing here that you may see." if error.status in (401, 404) else error.message
    return _page("hub_error.html.j2", error.status, code=error.status, message=message)


def _page(name: str, status: int = 200, **values: Any) -> HTMLResponse:
    headers = {
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
    }
    return HTMLResponse(templates.render(name, style=STYLE, **values), status, headers)


@router.get(STYLE)
def style() -> Response:
    """The stylesheet of all pages."""
    return Response((templates.FOLDER / "hub_style.css").read_text(), media_type="text/css")


@router.get("/")
def index(caller: Asking, search: str = "", tag: str = "", sort: str = "lastModified") -> HTMLResponse:
    """The models, with a search field."""
    query = Query(tags=(tag,) if tag else (), search=search or None, sort=sort)
    found, more = page(visible_models(caller), query, size=SHOWN_MODELS, cursor=None)
    return _page(
        "hub_index.html.j2",
        models=found,
        more=more,
        search=search,
        tag=tag,
        sort=sort,
        collections=visible_collections(caller),
    )


@router.get("/{owner}")
def owner(caller: Asking, owner: str) -> HTMLResponse:
    """One owner's models."""
    found, more = page(visible_models(caller), Query(author=owner, sort="lastModified"), size=SHOWN_MODELS, cursor=None)
    collections = [value for value in visible_collections(caller) if value["owner"] == owner]
    if not found and not collections:
        raise HubError(404, f"No such owner: {owner}")
    return _page("hub_owner.html.j2", owner=owner, models=found, more=more, collections=collections)


@router.get("/collections/{owner}/{slug}")
def collection(caller: Asking, owner: str, slug: str) -> HTMLResponse:
    """One collection and its models."""
    value = visible(caller, readable_collection(caller, owner, slug))
    items = [
        (model_at(caller, repo, repo.settings()), item["note"])
        for item in value["items"]
        for repo in [caller.store.repo(item["id"])]
    ]
    return _page("hub_collection.html.j2", collection=value, items=items)


@router.get("/{owner}/{name}")
def model(caller: Asking, owner: str, name: str) -> HTMLResponse:
    """A model's card."""
    value = _model(caller, owner, name, MAIN)
    body = card_html(value.facts.body, value.repo.id, value.sha) if value.facts.body.strip() else ""
    return _page("hub_model.html.j2", **_frame(caller, value, MAIN), card=body)


@router.get("/{owner}/{name}/tree/{revision:revision}")
@router.get("/{owner}/{name}/tree/{revision:revision}/{path:file}")
def files(caller: Asking, owner: str, name: str, revision: str, path: str = "") -> HTMLResponse:
    """The files in a folder."""
    value = _model(caller, owner, name, revision)
    path = path.strip("/")
    rows = views.listing(value.tree, path, recursive=False)
    if path and not rows:
        raise entry_not_found(path, value.sha)
    changes = last_changes(value.repo, value.sha)
    for row in rows:
        row["change"] = last_change(changes, row["path"])
    return _page("hub_files.html.j2", **_frame(caller, value, revision), path=path, rows=rows)


@router.get("/{owner}/{name}/blob/{revision:revision}/{path:file}")
def blob(caller: Asking, owner: str, name: str, revision: str, path: str) -> HTMLResponse:
    """One file: its text if it is short and is one, its hash and size in any case."""
    value = _model(caller, owner, name, revision)
    caller.opened(owner, name)
    entry = value.tree.get(path)
    if entry is None:
        raise entry_not_found(path, value.sha)
    text = None
    if not entry.lfs and entry.size <= SHOWN_BYTES:
        text = caller.store.blobs.read(entry.sha256).decode(errors="replace")
    image = path.lower().endswith((".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg"))
    return _page("hub_blob.html.j2", **_frame(caller, value, revision), path=path, entry=entry, text=text, image=image)


@router.get("/{owner}/{name}/commits/{revision:revision}")
def commits(caller: Asking, owner: str, name: str, revision: str) -> HTMLResponse:
    """The history of a revision."""
    value = _model(caller, owner, name, revision)
    rows = list(islice(value.repo.history(value.sha), SHOWN_COMMITS))
    return _page("hub_commits.html.j2", **_frame(caller, value, revision), rows=rows)


@router.get("/{owner}/{name}/commit/{id}")
def commit(caller: Asking, owner: str, name: str, id: str) -> Response:
    """A commit: the files as it left them."""
    repo = caller.readable(owner, name)
    return RedirectResponse(f"/{repo.id}/tree/{repo.resolve(id)}", 302)


@router.get("/{owner}/{name}/discussions")
def discussions(caller: Asking, owner: str, name: str) -> HTMLResponse:
    """The discussions and pull requests."""
    value = _model(caller, owner, name, MAIN)
    threads = caller.store.discussions(value.repo).all()
    return _page("hub_discussions.html.j2", **_frame(caller, value, MAIN), threads=threads)


@router.get("/{owner}/{name}/discussions/{number}")
def discussion(caller: Asking, owner: str, name: str, number: int) -> HTMLResponse:
    """One discussion."""
    value = _model(caller, owner, name, MAIN)
    thread = caller.store.discussions(value.repo).get(number)
    return _page("hub_discussion.html.j2", **_frame(caller, value, MAIN), thread=thread)


def _model(caller: Caller, owner: str, name: str, revision: str) -> views.Model:
    repo: Repo = caller.readable(owner, name)
    return model_at(caller, repo, repo.settings(), revision)


def _frame(caller: Caller, value: views.Model, revision: str) -> dict[str, Any]:
    """What every page of one model shows."""
    opened = sum(thread["status"] == "open" for thread in caller.store.discussions(value.repo).all())
    return {
        "model": value,
        "revision": revision,
        "refs": value.repo.refs(),
        "open_discussions": opened,
        "endpoint": caller.endpoint,
    }

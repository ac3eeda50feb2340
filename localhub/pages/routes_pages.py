"""Pages for people: the models; a model's card, files, history and discussions; collections."""

from __future__ import annotations

from itertools import islice

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from localhub.errors import HubError, entry_not_found
from localhub.pages.markup import render_card
from localhub.protocol.access import Caller, CurrentCaller, ReadableRepo, VisibleRepo
from localhub.protocol.model_list import ListQuery, select_page
from localhub.store.commits import list_entries
from localhub.store.facts import Model
from localhub.store.history import find_last_changes
from localhub.store.repo import MAIN
from templates import FOLDER
from templates.html import render_html

router = APIRouter(include_in_schema=False)
STYLE = "/-/style.css"
SHOWN_BYTES = 256 * 1024
SHOWN_COMMITS = 200
SHOWN_MODELS = 200
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' https: data:; style-src 'self' 'unsafe-inline'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def wants_page(request: Request) -> bool:
    """Whether a request comes from a browser that expects a page."""
    api = request.url.path.startswith(("/api/", "/uploads/")) or "/resolve/" in request.url.path
    return request.method == "GET" and not api and "text/html" in request.headers.get("accept", "")


def render_error(error: HubError) -> Response:
    """The page of an error. Clients get 401 for a repo that is absent or private; for people, it is not found."""
    status = 404 if error.code == "RepoNotFound" else error.status
    message = "There is nothing here that you may see." if status == 404 else error.message
    page = render_hub_page("error", title="Not found" if status == 404 else str(status), message=message)
    page.status_code = status
    return page


def render_hub_page(name: str, **values: object) -> HTMLResponse:
    """The page of `templates/hub_NAME.html.j2`."""
    return HTMLResponse(render_html(f"hub_{name}.html.j2", style=STYLE, **values), headers=_HEADERS)


@router.get(STYLE)
def get_style() -> Response:
    """The stylesheet of all pages."""
    return Response((FOLDER / "hub_style.css").read_text(encoding="utf-8"), media_type="text/css")


@router.get("/")
def show_index(caller: CurrentCaller, search: str = "", tag: str = "", sort: str = "lastModified") -> HTMLResponse:
    """The models, with a search field."""
    query = ListQuery(filter=[tag], search=search, sort=sort)
    models, more = select_page(caller.visible_models(), query, size=SHOWN_MODELS)
    collections = caller.visible_collections()
    return render_hub_page(
        "index", models=models, more=more, search=search, tag=tag, sort=sort, collections=collections
    )


@router.get("/{owner}")
def show_owner(caller: CurrentCaller, owner: str) -> HTMLResponse:
    """One owner's models and collections."""
    query = ListQuery(author=owner, sort="lastModified")
    models, more = select_page(caller.visible_models(), query, size=SHOWN_MODELS)
    collections = [collection for collection in caller.visible_collections() if collection.owner == owner]
    if not models and not collections:
        raise HubError(404, f"No such owner: {owner}")
    return render_hub_page("owner", owner=owner, models=models, more=more, collections=collections)


@router.get("/collections/{owner}/{slug}")
def show_collection(caller: CurrentCaller, owner: str, slug: str) -> HTMLResponse:
    """One collection and its models."""
    [collection] = caller.without_hidden_items([caller.whole_collection(owner, slug)])
    items = [(caller.store.model(caller.store.repo(item.id)), item.note) for item in collection.items]
    return render_hub_page("collection", collection=collection, items=items)


@router.get("/{owner}/{name}")
def show_model(caller: CurrentCaller, repo: VisibleRepo) -> HTMLResponse:
    """A model's card."""
    model = caller.store.model(repo)
    body = model.facts.body
    repo_id, sha = model.repo.id, model.sha
    card = render_card(body, f"/{repo_id}/resolve/{sha}/", f"/{repo_id}/blob/{sha}/") if body.strip() else ""
    return _render_model("model", caller, model, MAIN, card=card)


@router.get("/{owner}/{name}/tree/{revision:revision}")
@router.get("/{owner}/{name}/tree/{revision:revision}/{path:file}")
def show_files(caller: CurrentCaller, repo: VisibleRepo, revision: str, path: str = "") -> HTMLResponse:
    """The files in a folder."""
    model = caller.store.model(repo, revision)
    path = path.strip("/")
    entries = list_entries(model.tree, path, recursive=False)
    if path and not entries:
        raise entry_not_found(path, model.sha)
    changes = find_last_changes(repo, model.sha)
    rows = [(inside, entry, changes[inside]) for inside, entry in entries.items()]
    return _render_model("files", caller, model, revision, path=path, rows=rows)


@router.get("/{owner}/{name}/blob/{revision:revision}/{path:file}")
def show_file(caller: CurrentCaller, repo: ReadableRepo, revision: str, path: str) -> HTMLResponse:
    """One file: always its hash and size, and its text if it is a short one."""
    model = caller.store.model(repo, revision)
    entry = repo.entry(path, model.sha)
    shown = not entry.lfs and entry.size <= SHOWN_BYTES
    text = caller.store.blobs.read(entry.sha256).decode(errors="replace") if shown else None
    image = path.lower().endswith((".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg"))
    return _render_model("blob", caller, model, revision, path=path, entry=entry, text=text, image=image)


@router.get("/{owner}/{name}/commits/{revision:revision}")
def show_commits(caller: CurrentCaller, repo: VisibleRepo, revision: str) -> HTMLResponse:
    """The history of a revision."""
    model = caller.store.model(repo, revision)
    rows = list(islice(repo.history(model.sha), SHOWN_COMMITS))
    return _render_model("commits", caller, model, revision, rows=rows)


@router.get("/{owner}/{name}/commit/{id}")
def show_commit(repo: VisibleRepo, id: str) -> Response:
    """A commit: the files as it left them."""
    return RedirectResponse(f"/{repo.id}/tree/{repo.resolve(id)}", 302)


@router.get("/{owner}/{name}/discussions")
def show_discussions(caller: CurrentCaller, repo: VisibleRepo) -> HTMLResponse:
    """The discussions and pull requests."""
    model = caller.store.model(repo)
    return _render_model("discussions", caller, model, MAIN, threads=caller.store.discussions(repo).all())


@router.get("/{owner}/{name}/discussions/{number}")
def show_discussion(caller: CurrentCaller, repo: VisibleRepo, number: int) -> HTMLResponse:
    """One discussion."""
    model = caller.store.model(repo)
    return _render_model("discussion", caller, model, MAIN, thread=caller.store.discussions(repo).get(number))


def _render_model(page: str, caller: Caller, model: Model, revision: str, **values: object) -> HTMLResponse:
    """A page of one model: `values`, and what all of a model's pages show."""
    return render_hub_page(
        page,
        model=model,
        revision=revision,
        refs=model.repo.refs(),
        open_discussions=sum(thread.status == "open" for thread in caller.store.discussions(model.repo).all()),
        endpoint=caller.endpoint,
        **values,
    )

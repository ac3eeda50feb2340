"""Reading models: lists, one model, its tree, references and history."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from typing import Annotated, Any
from urllib.parse import parse_qs, quote, urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from localhub import views
from localhub.access import Asking, Caller
from localhub.errors import HubError, bad_request, entry_not_found
from localhub.history import last_change, last_changes
from localhub.listing import Query as ListQuery
from localhub.listing import page, parameter_range, truth
from localhub.repo import MAIN, Repo, Settings

router = APIRouter(prefix="/api/models")
UNSERVED_FILTERS = ("apps", "inference", "inference_provider")
COMMITS_PER_PAGE = 100


def model_at(caller: Caller, repo: Repo, settings: Settings, revision: str = MAIN) -> views.Model:
    """The repo at a revision, with its facts."""
    sha = repo.resolve(revision)
    return views.Model(
        repo=repo,
        settings=settings,
        sha=sha,
        commit=repo.commit(sha),
        tree=repo.tree(sha),
        facts=caller.store.facts(repo, sha),
    )


def visible_models(caller: Caller) -> Iterator[views.Model]:
    """All models that the caller may see, at main."""
    for repo, settings in caller.visible():
        with suppress(HubError):  # one that is taken away in this moment is no longer listed
            yield model_at(caller, repo, settings)


def list_query(request: Request) -> ListQuery:
    """What the parameters of a list ask for; a 400 for what this server cannot tell."""
    asked = request.query_params
    for name in UNSERVED_FILTERS:
        if name in asked:
            raise bad_request(f'"{name}" is not served by the local Hub')
    parameters = asked.get("num_parameters")
    return ListQuery(
        tags=tuple(tag for item in asked.getlist("filter") for tag in item.split(",") if tag),
        author=asked.get("author"),
        search=asked.get("search"),
        pipeline=asked.get("pipeline_tag"),
        gated=truth("gated", asked.get("gated")),
        parameters=parameter_range(parameters) if parameters else None,
        sort=asked.get("sort", "trendingScore"),
    )


@router.get("")
def list_models(
    caller: Asking,
    request: Request,
    expand: Annotated[list[str], Query()] = [],  # noqa: B006  FastAPI copies it
    limit: Annotated[int, Query(ge=1)] = 1000,
    cursor: str | None = None,
) -> JSONResponse:
    """The models that the caller may see and asks for, a page at a time."""
    asked = request.query_params
    fields = views.check_expand(expand, views.EXPANDABLE) if expand else _listed_fields(request)
    chosen, following = page(
        visible_models(caller), list_query(request), size=min(limit, caller.limits.page_items), cursor=cursor
    )
    headers = {}
    if following:
        kept = [(key, value) for key, value in asked.multi_items() if key != "cursor"]
        headers["Link"] = f'<{caller.endpoint}/api/models?{urlencode([*kept, ("cursor", following)])}>; rel="next"'
    return JSONResponse([views.model(model, fields) for model in chosen], headers=headers)


def _listed_fields(request: Request) -> tuple[str, ...]:
    asked = request.query_params
    fields = views.LISTED_FULL if truth("full", asked.get("full")) else views.LISTED
    extra = {"cardData": "cardData", "config": "config"}
    return fields + tuple(field for name, field in extra.items() if truth(name, asked.get(name)))


@router.get("/{owner}/{name}")
@router.get("/{owner}/{name}/revision/{revision:revision}")
def model_info(
    caller: Asking,
    owner: str,
    name: str,
    request: Request,
    revision: str = MAIN,
    expand: Annotated[list[str], Query()] = [],  # noqa: B006  FastAPI copies it
) -> dict[str, Any]:
    """One model, at a revision."""
    repo = caller.readable(owner, name)
    settings = repo.settings()
    model = model_at(caller, repo, settings, revision)
    if expand:
        shown = views.model(model, views.check_expand(expand, views.EXPANDABLE_ONE))
        if "childrenModelCount" in expand:
            shown["childrenModelCount"] = _children(caller, repo.id)
        return shown
    blobs = truth("blobs", request.query_params.get("blobs")) or False
    shown = views.model(model, views.INFO, blobs=blobs)
    if truth("securityStatus", request.query_params.get("securityStatus")):
        shown["securityRepoStatus"] = views.security(settings)
    return shown


def _children(caller: Caller, id: str) -> int:
    return sum(id in model.facts.bases for model in visible_models(caller))


@router.get("/{owner}/{name}/tree/{revision:revision}")
@router.get("/{owner}/{name}/tree/{revision:revision}/{path:file}")
def tree(
    caller: Asking,
    owner: str,
    name: str,
    revision: str,
    path: str = "",
    recursive: str = "false",
    expand: str = "false",
) -> list[dict[str, Any]]:
    """The files and folders inside a folder."""
    repo = caller.readable(owner, name)
    sha = repo.resolve(revision)
    entries = repo.tree(sha)
    rows = views.listing(entries, path.strip("/"), recursive=bool(truth("recursive", recursive)))
    if path and not rows:
        raise entry_not_found(path, sha)
    return _expanded(repo, sha, rows) if truth("expand", expand) else rows


@router.post("/{owner}/{name}/paths-info/{revision:revision}")
async def paths_info(caller: Asking, owner: str, name: str, revision: str, request: Request) -> list[dict[str, Any]]:
    """The files and folders at some paths (form field `paths`, repeated); those that are not there are
    left out."""
    asked = parse_qs((await request.body()).decode(errors="replace"))
    repo = caller.readable(owner, name)
    sha = repo.resolve(revision)
    entries = repo.tree(sha)
    every = {row["path"]: row for row in views.listing(entries, "", recursive=True)}
    rows = [every[path] for path in (path.strip("/") for path in asked.get("paths", [])) if path in every]
    return _expanded(repo, sha, rows) if truth("expand", asked.get("expand", ["false"])[0]) else rows


def _expanded(repo: Repo, sha: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the commit that touched each last, and the scanner's word on it."""
    changes = last_changes(repo, sha)
    unsafe = {issue.get("path"): issue.get("level", "unsafe") for issue in repo.settings().issues}
    for row in rows:
        row["lastCommit"] = asdict(last_change(changes, row["path"]))
        if row["type"] == "file":
            scan = {"status": unsafe.get(row["path"], "safe")}
            row["securityFileStatus"] = {**scan, "avScan": scan, "pickleImportScan": None}
    return rows


@router.get("/{owner}/{name}/refs")
def refs(caller: Asking, owner: str, name: str, include_prs: str = "false") -> dict[str, Any]:
    """Branches, tags, and pull requests if `include_prs` is true."""
    return views.references(caller.readable(owner, name).refs(), pulls=bool(truth("include_prs", include_prs)))


@router.get("/{owner}/{name}/commits/{revision:revision}")
def commits(caller: Asking, owner: str, name: str, revision: str, p: Annotated[int, Query(ge=0)] = 0) -> JSONResponse:
    """The history of a revision, newest first, a page (number `p`) at a time."""
    repo = caller.readable(owner, name)
    start = p * COMMITS_PER_PAGE
    rows = list(islice(repo.history(repo.resolve(revision)), start, start + COMMITS_PER_PAGE + 1))
    headers = {}
    if len(rows) > COMMITS_PER_PAGE:
        path = f"/api/models/{repo.id}/commits/{quote(revision, safe='')}"
        headers["Link"] = f'<{caller.endpoint}{path}?p={p + 1}>; rel="next"'
    return JSONResponse([views.commit(id, value) for id, value in rows[:COMMITS_PER_PAGE]], headers=headers)

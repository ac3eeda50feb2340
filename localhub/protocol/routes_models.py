"""Routes that read models: lists, one model, its files, references and history."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from typing import Annotated
from urllib.parse import parse_qs, quote, urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from localhub.errors import bad_request, entry_not_found
from localhub.protocol.access import Caller, CurrentCaller, VisibleRepo
from localhub.protocol.json_views import JsonObject, describe_commit, describe_entries, describe_model, describe_refs
from localhub.protocol.model_list import ListQuery, select_page
from localhub.store.history import find_last_changes
from localhub.store.repo import MAIN, Repo

router = APIRouter(prefix="/api/models")
UNSERVED_FILTERS = ("apps", "inference", "inference_provider")
COMMITS_PER_PAGE = 100
LISTED = (
    "modelId", "likes", "trendingScore", "private", "downloads", "tags", "pipeline_tag", "library_name", "createdAt",
)  # fmt: skip
LISTED_FULL = (*LISTED, "author", "gated", "sha", "lastModified", "siblings")
INFO = (
    *LISTED_FULL, "disabled", "model-index", "config", "cardData", "transformersInfo", "safetensors", "spaces",
    "usedStorage", "widgetData", "inference",
)  # fmt: skip
# What the real Hub accepts as `expand` of a list, and of one model. It has no value for some; they are left out then.
EXPANDABLE = frozenset(
    {
        "author", "cardData", "config", "createdAt", "disabled", "downloads", "downloadsAllTime", "evalResults",
        "gated", "gguf", "inference", "inferenceProviderMapping", "lastModified", "library_name", "likes",
        "mask_token", "model-index", "pipeline_tag", "private", "resourceGroup", "safetensors", "sha", "siblings",
        "spaces", "tags", "transformersInfo", "trendingScore", "widgetData",
    }
)  # fmt: skip
EXPANDABLE_ONE = EXPANDABLE | {"baseModels", "childrenModelCount", "usedStorage"}


@router.get("")
def list_models(caller: CurrentCaller, request: Request, query: Annotated[ListQuery, Query()]) -> JSONResponse:
    """The models that exist for the caller and meet the conditions, a page at a time."""
    for name in UNSERVED_FILTERS:
        if name in request.query_params:
            raise bad_request(f'"{name}" is not served by the local Hub')
    fields = _choose_fields(query)
    size = min(query.limit, caller.limits.page_items)
    chosen, following = select_page(caller.visible_models(), query, size=size)
    headers = {}
    if following:
        kept = [(key, value) for key, value in request.query_params.multi_items() if key != "cursor"]
        headers["Link"] = f'<{caller.endpoint}/api/models?{urlencode([*kept, ("cursor", following)])}>; rel="next"'
    return JSONResponse([describe_model(model, fields) for model in chosen], headers=headers)


def _choose_fields(query: ListQuery) -> list[str]:
    """The fields of each model in a list: those of `expand` alone, if there are any."""
    if query.expand:
        return _check_expand(query.expand, EXPANDABLE)
    further = {"cardData": query.cardData, "config": query.config}
    return [*(LISTED_FULL if query.full else LISTED), *(name for name, wanted in further.items() if wanted)]


def _check_expand(names: list[str], allowed: frozenset[str]) -> list[str]:
    """The names themselves; a 400 for the first one that is not allowed."""
    for name in names:
        if name not in allowed:
            raise bad_request(f'"expand" must be one of {", ".join(sorted(allowed))}, not {name!r}')
    return names


@router.get("/{owner}/{name}")
@router.get("/{owner}/{name}/revision/{revision:revision}")
def get_model(
    caller: CurrentCaller,
    repo: VisibleRepo,
    revision: str = MAIN,
    expand: Annotated[list[str], Query()] = [],  # noqa: B006  FastAPI copies it
    blobs: bool = False,
    securityStatus: bool = False,  # noqa: N803  as sent
) -> JSONResponse:
    """One model, at a revision."""
    model = caller.store.model(repo, revision)
    if expand:
        shown = describe_model(model, _check_expand(expand, EXPANDABLE_ONE))
        if "childrenModelCount" in expand:
            shown["childrenModelCount"] = sum(repo.id in other.facts.bases for other in caller.visible_models())
        return JSONResponse(shown)
    names = (*INFO, "securityRepoStatus") if securityStatus else INFO
    return JSONResponse(describe_model(model, names, blobs=blobs))


@router.get("/{owner}/{name}/tree/{revision:revision}")
@router.get("/{owner}/{name}/tree/{revision:revision}/{path:file}")
def list_tree(
    repo: VisibleRepo, revision: str, path: str = "", recursive: bool = False, expand: bool = False
) -> list[JsonObject]:
    """The files and folders in a folder."""
    sha = repo.resolve(revision)
    rows = describe_entries(repo.tree(sha), path.strip("/"), recursive=recursive)
    if path and not rows:
        raise entry_not_found(path, sha)
    if expand:
        _add_last_changes(rows, repo, sha)
    return rows


@router.post("/{owner}/{name}/paths-info/{revision:revision}")
async def describe_paths(repo: VisibleRepo, revision: str, request: Request) -> list[JsonObject]:
    """The files and folders at some paths (form field `paths`, repeated); absent ones are left out."""
    asked = parse_qs((await request.body()).decode(errors="replace"))
    sha = repo.resolve(revision)
    every = {row["path"]: row for row in describe_entries(repo.tree(sha), "", recursive=True)}
    rows = [every[path] for path in (path.strip("/") for path in asked.get("paths", [])) if path in every]
    if asked.get("expand", [""])[0].lower() in ("true", "1"):
        _add_last_changes(rows, repo, sha)
    return rows


def _add_last_changes(rows: list[JsonObject], repo: Repo, sha: str) -> None:
    """Give each row the commit that changed it last, and each file the security scanner's status."""
    changes = find_last_changes(repo, sha)
    unsafe = {issue.get("path"): issue.get("level", "unsafe") for issue in repo.settings().issues}
    for row in rows:
        path = str(row["path"])
        row["lastCommit"] = asdict(changes[path])
        if row["type"] == "file":
            status = unsafe.get(path, "safe")
            row["securityFileStatus"] = {"status": status, "avScan": {"status": status}, "pickleImportScan": None}


@router.get("/{owner}/{name}/refs")
def list_refs(repo: VisibleRepo, include_prs: bool = False) -> JsonObject:
    """Branches, tags, and pull requests if `include_prs` is true."""
    return describe_refs(repo.refs(), pulls=include_prs)


@router.get("/{owner}/{name}/commits/{revision:revision}")
def list_commits(
    caller: CurrentCaller, repo: VisibleRepo, revision: str, p: Annotated[int, Query(ge=0)] = 0
) -> JSONResponse:
    """The history of a revision, newest first, a page (number `p`) at a time."""
    return list_commit_page(caller, repo, revision, p, "models")


def list_commit_page(caller: Caller, repo: Repo, revision: str, p: int, kinds: str) -> JSONResponse:
    """A page of a repo's history; `kinds` is the repo's place in the API, such as "models"."""
    start = p * COMMITS_PER_PAGE
    rows = list(islice(repo.history(repo.resolve(revision)), start, start + COMMITS_PER_PAGE + 1))
    headers = {}
    if len(rows) > COMMITS_PER_PAGE:
        path = f"/api/{kinds}/{repo.id}/commits/{quote(revision, safe='')}"
        headers["Link"] = f'<{caller.endpoint}{path}?p={p + 1}>; rel="next"'
    return JSONResponse([describe_commit(id, commit) for id, commit in rows[:COMMITS_PER_PAGE]], headers=headers)

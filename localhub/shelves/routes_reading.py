"""Routes that read data sets and Spaces: one of them, its files, references and history."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse

from localhub.errors import repo_not_found
from localhub.protocol import routes_files, routes_models
from localhub.protocol.access import CurrentCaller
from localhub.protocol.json_views import JsonObject, list_siblings, make_object_id
from localhub.shelves.access import ReadableShelved, VisibleShelved
from localhub.shelves.shelf import Shelf, ShelfKind, ShelvedFacts
from localhub.shelves.space_settings import describe_runtime, read_space_settings
from localhub.store.repo import MAIN
from localhub.store.tags import list_strings
from localhub.xet import routes_xet

router = APIRouter()


@router.get("/api/{kind:shelf}/{owner}/{name}")
@router.get("/api/{kind:shelf}/{owner}/{name}/revision/{revision:revision}")
def get_shelved(
    caller: CurrentCaller, kind: ShelfKind, repo: VisibleShelved, revision: str = MAIN, blobs: bool = False
) -> JSONResponse:
    """One data set or Space, at a revision."""
    found = Shelf(caller.store, kind).facts(repo, revision)
    further = _describe_space(found) if kind == "spaces" else {"downloads": found.settings.downloads}
    return JSONResponse({**_describe(found, kind, blobs=blobs), **further})


def _describe(found: ShelvedFacts, kind: ShelfKind, *, blobs: bool) -> JsonObject:
    """What data sets and Spaces have in common; `blobs` adds hashes to the files."""
    tags = [*list_strings(found.card.get("tags")), *(f"license:{id}" for id in list_strings(found.card.get("license")))]
    return {
        "_id": make_object_id(f"{kind}/{found.repo.id}"),
        "id": found.repo.id,
        "author": found.repo.owner,
        "sha": found.sha,
        "lastModified": found.commit.date,
        "createdAt": found.settings.created_at,
        "private": found.settings.private,
        "gated": found.settings.gated,
        "disabled": False,
        "likes": found.settings.likes,
        "tags": [*tags, "region:us"],
        "cardData": dict(found.card) or None,
        "siblings": list_siblings(found.tree, blobs=blobs),
    }


def _describe_space(found: ShelvedFacts) -> JsonObject:
    settings = read_space_settings(found.repo)
    return {"sdk": settings.sdk, "runtime": describe_runtime(settings)}


@router.get("/api/{kind:shelf}/{owner}/{name}/tree/{revision:revision}")
@router.get("/api/{kind:shelf}/{owner}/{name}/tree/{revision:revision}/{path:file}")
def list_shelved_tree(
    repo: VisibleShelved, revision: str, path: str = "", recursive: bool = False, expand: bool = False
) -> list[JsonObject]:
    """The files and folders in a folder."""
    return routes_models.list_tree(repo, revision, path, recursive, expand)


@router.post("/api/{kind:shelf}/{owner}/{name}/paths-info/{revision:revision}")
async def describe_shelved_paths(repo: VisibleShelved, revision: str, request: Request) -> list[JsonObject]:
    """The files and folders at some paths; absent ones are left out."""
    return await routes_models.describe_paths(repo, revision, request)


@router.get("/api/{kind:shelf}/{owner}/{name}/refs")
def list_shelved_refs(repo: VisibleShelved) -> JsonObject:
    """Branches and tags."""
    return routes_models.list_refs(repo)


@router.get("/api/{kind:shelf}/{owner}/{name}/commits/{revision:revision}")
def list_shelved_commits(
    caller: CurrentCaller, kind: ShelfKind, repo: VisibleShelved, revision: str, p: int = 0
) -> JSONResponse:
    """The history of a revision, newest first, a page (number `p`) at a time."""
    return routes_models.list_commit_page(caller, repo, revision, p, kind)


@router.api_route("/{kind:shelf}/{owner}/{name}/resolve/{revision:revision}/{path:file}", methods=["GET", "HEAD"])
def download_shelved_file(
    caller: CurrentCaller, kind: ShelfKind, repo: ReadableShelved, revision: str, path: str
) -> FileResponse:
    """A file at a revision."""
    return routes_files.send_file(caller, repo, revision, path, kind)


@router.get("/api/{kind:shelf}/{owner}/{name}/xet-read-token/{revision:revision}")
def give_shelved_read_token(caller: CurrentCaller, repo: ReadableShelved, revision: str) -> JSONResponse:
    """A token with which the repo's large files can be read."""
    return routes_xet.give_read_token(caller, repo, revision)


@router.get("/api/{kind:shelf}/{name}")
@router.get("/api/{kind:shelf}/{name}/revision/{revision:revision}")
def refuse_bare_shelved_name(caller: CurrentCaller) -> None:
    """An id without a namespace, such as the data set "gsm8k": the local Hub has none."""
    raise repo_not_found(known_caller=caller.identity is not None)


@router.api_route("/{kind:shelf}/{name}/resolve/{revision:revision}/{path:file}", methods=["GET", "HEAD"])
def refuse_file_of_bare_name(caller: CurrentCaller) -> None:
    """A file of an id without a namespace."""
    raise repo_not_found(known_caller=caller.identity is not None)

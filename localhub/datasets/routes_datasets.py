"""Routes that read data sets: one of them, its files and references. The local Hub's data sets are not uploaded."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, JSONResponse

from localhub.datasets.repos import DatasetFacts, Datasets
from localhub.errors import repo_not_found
from localhub.names import is_name
from localhub.protocol import routes_files, routes_models
from localhub.protocol.access import CurrentCaller
from localhub.protocol.json_views import JsonObject, list_siblings, make_object_id
from localhub.store.repo import MAIN, Repo
from localhub.store.tags import list_strings
from localhub.xet import routes_xet

router = APIRouter()


def _find_visible(caller: CurrentCaller, owner: str, name: str) -> Repo:
    """The data set; RepoNotFound if it does not exist for the caller."""
    found = Datasets(caller.store).find(f"{owner}/{name}") if is_name(owner) and is_name(name) else None
    if found is None or not caller.sees(found.owner, private=found.settings().private):
        raise repo_not_found(known_caller=caller.identity is not None)
    return found


VisibleDataset = Annotated[Repo, Depends(_find_visible)]


def _find_readable(caller: CurrentCaller, repo: VisibleDataset) -> Repo:
    """The data set, if the caller may read its files; otherwise GatedRepo."""
    return caller.check_reads(repo, "dataset")


ReadableDataset = Annotated[Repo, Depends(_find_readable)]


@router.get("/api/datasets/{owner}/{name}")
@router.get("/api/datasets/{owner}/{name}/revision/{revision:revision}")
def get_dataset(caller: CurrentCaller, repo: VisibleDataset, revision: str = MAIN, blobs: bool = False) -> JSONResponse:
    """One data set, at a revision."""
    return JSONResponse(_describe(Datasets(caller.store).facts(repo, revision), blobs=blobs))


def _describe(found: DatasetFacts, *, blobs: bool) -> JsonObject:
    """A data set; `blobs` adds hashes to its files."""
    tags = [*list_strings(found.card.get("tags")), *(f"license:{id}" for id in list_strings(found.card.get("license")))]
    return {
        "_id": make_object_id(f"datasets/{found.repo.id}"),
        "id": found.repo.id,
        "author": found.repo.owner,
        "sha": found.sha,
        "lastModified": found.commit.date,
        "createdAt": found.settings.created_at,
        "private": found.settings.private,
        "gated": found.settings.gated,
        "disabled": False,
        "downloads": found.settings.downloads,
        "likes": found.settings.likes,
        "tags": [*tags, "region:us"],
        "cardData": dict(found.card) or None,
        "siblings": list_siblings(found.tree, blobs=blobs),
    }


@router.get("/api/datasets/{owner}/{name}/tree/{revision:revision}")
@router.get("/api/datasets/{owner}/{name}/tree/{revision:revision}/{path:file}")
def list_dataset_tree(
    repo: VisibleDataset, revision: str, path: str = "", recursive: bool = False, expand: bool = False
) -> list[JsonObject]:
    """The files and folders in a folder."""
    return routes_models.list_tree(repo, revision, path, recursive, expand)


@router.post("/api/datasets/{owner}/{name}/paths-info/{revision:revision}")
async def describe_dataset_paths(repo: VisibleDataset, revision: str, request: Request) -> list[JsonObject]:
    """The files and folders at some paths; absent ones are left out."""
    return await routes_models.describe_paths(repo, revision, request)


@router.get("/api/datasets/{owner}/{name}/refs")
def list_dataset_refs(repo: VisibleDataset) -> JsonObject:
    """Branches and tags."""
    return routes_models.list_refs(repo)


@router.api_route("/datasets/{owner}/{name}/resolve/{revision:revision}/{path:file}", methods=["GET", "HEAD"])
def download_dataset_file(caller: CurrentCaller, repo: ReadableDataset, revision: str, path: str) -> FileResponse:
    """A file at a revision."""
    return routes_files.send_file(caller, repo, revision, path, "datasets")


@router.get("/api/datasets/{owner}/{name}/xet-read-token/{revision:revision}")
def give_dataset_read_token(caller: CurrentCaller, repo: ReadableDataset, revision: str) -> JSONResponse:
    """A token with which the data set's large files can be read."""
    return routes_xet.give_read_token(caller, repo, revision)


@router.get("/api/datasets/{name}")
@router.get("/api/datasets/{name}/revision/{revision:revision}")
def refuse_bare_dataset_name(caller: CurrentCaller) -> None:
    """An id without a namespace, such as "gsm8k": the local Hub has none."""
    raise repo_not_found(known_caller=caller.identity is not None)


@router.api_route("/datasets/{name}/resolve/{revision:revision}/{path:file}", methods=["GET", "HEAD"])
def refuse_file_of_bare_name(caller: CurrentCaller) -> None:
    """A file of an id without a namespace."""
    raise repo_not_found(known_caller=caller.identity is not None)

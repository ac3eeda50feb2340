"""Routes that change data sets and Spaces: commits and what they upload, and settings."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from localhub.errors import bad_request
from localhub.protocol import routes_files, routes_repos
from localhub.protocol.access import BodyText, CurrentCaller
from localhub.protocol.json_views import JsonObject
from localhub.protocol.routes_files import LfsObject
from localhub.protocol.routes_repos import AnnouncedFile, SettingsChange
from localhub.shelves.access import VisibleShelved, WritableShelved
from localhub.shelves.shelf import ShelfKind
from localhub.xet import routes_xet

router = APIRouter()


@router.post("/api/{kind:shelf}/{owner}/{name}/preupload/{revision:revision}")
def plan_shelved_uploads(
    repo: WritableShelved, revision: str, files: Annotated[list[AnnouncedFile], Body(embed=True, max_length=1000)]
) -> JsonObject:
    """How to upload each file, and the hash of the file that has its path now."""
    return routes_repos.plan_uploads(repo, revision, files)


@router.post("/api/{kind:shelf}/{owner}/{name}/commit/{revision:revision}")
async def commit_to_shelved(
    caller: CurrentCaller,
    kind: ShelfKind,
    repo: WritableShelved,
    revision: str,
    request: Request,
    create_pr: bool = False,
) -> JsonObject:
    """One atomic commit to a branch; a 412 for a stale parent."""
    if create_pr:
        raise bad_request("create_pr: the local Hub has pull requests for models only")
    body = await routes_repos.read_commit_body(caller, request)
    return await run_in_threadpool(routes_repos.make_commit, caller, repo, revision, body, f"{kind}/")


@router.post("/{kind:shelf}/{owner}/{name}.git/info/lfs/objects/batch")
def offer_shelved_uploads(
    caller: CurrentCaller,
    kind: ShelfKind,
    repo: VisibleShelved,
    operation: BodyText,
    objects: Annotated[list[LfsObject], Body(max_length=1000)],
    transfers: Annotated[list[str], Body()] = ["basic"],  # noqa: B006  FastAPI copies it
) -> JsonObject:
    """The address to upload each file to; a file without `actions` need not be uploaded."""
    return routes_files.describe_uploads(caller, repo, operation, objects, transfers, f"{kind}/")


@router.post("/{kind:shelf}/{owner}/{name}.git/info/lfs/objects/verify")
def verify_shelved_upload(caller: CurrentCaller, repo: VisibleShelved, request: LfsObject) -> dict[str, str]:
    """Whether the caller's upload has arrived in full; a 404 if not."""
    return routes_files.verify_upload(caller, repo, request)


@router.get("/api/{kind:shelf}/{owner}/{name}/xet-write-token/{revision:revision}")
def give_shelved_write_token(caller: CurrentCaller, repo: WritableShelved, revision: str) -> JSONResponse:
    """A token with which the caller can send large files, before the commit that names them."""
    return routes_xet.give_write_token(caller, repo, revision)


@router.put("/api/{kind:shelf}/{owner}/{name}/settings")
def update_shelved_settings(repo: WritableShelved, request: SettingsChange) -> JsonObject:
    """Set privacy and gating; returns what was set."""
    return routes_repos.apply_settings(repo, request)


@router.post("/api/{kind:shelf}/{owner}/{name}/super-squash/{branch:revision}")
def squash_history(caller: CurrentCaller, repo: WritableShelved, branch: str, message: BodyText) -> dict[str, str]:
    """Replace a branch by one commit that has its files and no parent."""
    repo.squash(branch, caller.author("squash a branch"), message)
    return routes_repos.OK

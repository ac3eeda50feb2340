"""Routes that let a client into the Xet storage, for a while."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from localhub.errors import HubError
from localhub.protocol.access import Caller, CurrentCaller, ReadableRepo
from localhub.protocol.routes_repos import CommittableRepo
from localhub.xet.storage import XetStorage, to_address

router = APIRouter(prefix="/api")
VALID_SECONDS = 3600


@router.get("/models/{owner}/{name}/xet-read-token/{revision:revision}")
def give_read_token(caller: CurrentCaller, repo: ReadableRepo, revision: str) -> JSONResponse:
    """A token with which the repo's large files can be read."""
    repo.resolve(revision)
    return _describe_token(find_storage(caller).shared)


@router.get("/models/{owner}/{name}/xet-write-token/{revision:revision}")
def give_write_token(caller: CurrentCaller, repo: CommittableRepo, revision: str) -> JSONResponse:
    """A token with which the caller can send large files, before the commit that names them."""
    repo.resolve(revision)
    return _describe_token(find_storage(caller).sent_by(caller.require_identity().name))


def find_storage(caller: Caller) -> XetStorage:
    """The storage; a 404 where the Hub runs without one."""
    if caller.xet is None:
        raise HubError(404, "This Hub has no Xet storage: start the client with HF_HUB_DISABLE_XET=1")
    return caller.xet


def _describe_token(folder: Path) -> JSONResponse:
    folder.mkdir(parents=True, exist_ok=True)
    token, until = f"xet_{secrets.token_urlsafe(16)}", int(time.time()) + VALID_SECONDS
    address = to_address(folder)
    return JSONResponse(
        {"casUrl": address, "exp": until, "accessToken": token},
        headers={"X-Xet-Cas-Url": address, "X-Xet-Token-Expiration": str(until), "X-Xet-Access-Token": token},
    )

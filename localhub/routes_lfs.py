"""Uploads of large files by the LFS protocol: one PUT, or parts that are put together in the end.

The addresses to upload to carry a signature in place of the token, which clients do not send there.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from localhub.access import Asking, Caller
from localhub.blobs import Blobs, Incoming, chunks
from localhub.errors import HubError, bad_request, forbidden

router = APIRouter()
LARGEST_BYTES = 5 * 10**12


class LfsObject(BaseModel):
    """A file that a client wants to upload: SHA-256 and bytes."""

    oid: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0, le=LARGEST_BYTES)


class Batch(BaseModel):
    """The request of the LFS batch API."""

    operation: str
    transfers: list[str] = ["basic"]
    objects: list[LfsObject] = Field(max_length=1000)


class Part(BaseModel):
    """A part that the client has sent, with the ETag it was given."""

    partNumber: int = Field(ge=1)  # noqa: N815  the protocol's name
    etag: str


class Completion(BaseModel):
    """All parts of a file are there."""

    oid: str
    parts: list[Part]


@router.post("/{owner}/{name}.git/info/lfs/objects/batch")
def batch(caller: Asking, owner: str, name: str, request: Batch) -> dict[str, Any]:
    """Where to upload each file; a file without `actions` is there already."""
    caller.contributing()
    repo = caller.readable(owner, name)
    if request.operation != "upload":
        raise bad_request(f'"operation" must be "upload", not {request.operation!r}: download from resolve/')
    multipart = "multipart" in request.transfers
    return {
        "transfer": "multipart" if multipart else "basic",
        "objects": [_instructions(caller, repo.id, wanted, multipart) for wanted in request.objects],
    }


def _instructions(caller: Caller, repo: str, wanted: LfsObject, multipart: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"oid": wanted.oid, "size": wanted.size}
    if caller.store.blobs.find(wanted.oid):
        return shown
    in_parts = multipart and wanted.size > caller.limits.multipart_above
    upload = _upload_in_parts(caller, wanted) if in_parts else {"href": _address(caller, wanted, ""), "header": {}}
    verify = {"href": f"{caller.endpoint}/{repo}.git/info/lfs/objects/verify"}
    return {**shown, "authenticated": True, "actions": {"upload": upload, "verify": verify}}


def _upload_in_parts(caller: Caller, wanted: LfsObject) -> dict[str, Any]:
    length = caller.limits.part_bytes
    count = -(-wanted.size // length)
    parts = {str(i): _address(caller, wanted, f"/part/{length}/{i}") for i in range(1, count + 1)}
    href = _address(caller, wanted, f"/complete/{length}")
    return {"href": href, "header": {"chunk_size": str(length), **parts}}


def _address(caller: Caller, wanted: LfsObject, deed: str) -> str:
    signature = _sign(caller.store.secret, wanted, deed)
    return f"{caller.endpoint}/uploads/{wanted.oid}/{wanted.size}{deed}?sig={signature}"


@router.post("/{owner}/{name}.git/info/lfs/objects/verify")
def verify(caller: Asking, owner: str, name: str, request: LfsObject) -> dict[str, str]:
    """Whether an uploaded file has come in full."""
    caller.readable(owner, name)
    blob = caller.store.blobs.find(request.oid)
    if blob is None or blob.size != request.size:
        raise HubError(404, f"The file {request.oid} has not been uploaded")
    return {"message": "ok"}


@router.put("/uploads/{oid}/{size}")
async def upload_whole(request: Request, oid: str, size: int, sig: str = "") -> Response:
    """All bytes of a file; a 400 if they are not what the address says."""
    wanted = _signed(request, oid, size, "", sig)
    blobs: Blobs = request.app.state.store.blobs
    with blobs.receiving() as incoming:
        await _receive(request, incoming, size)
        await run_in_threadpool(_keep, blobs, incoming, wanted)
    return Response()


@router.put("/uploads/{oid}/{size}/part/{part_bytes}/{number}")
async def upload_part(request: Request, oid: str, size: int, part_bytes: int, number: int, sig: str = "") -> Response:
    """One part of a file; its ETag is wanted back when the parts are put together."""
    _signed(request, oid, size, f"/part/{part_bytes}/{number}", sig)
    length = min(part_bytes, size - (number - 1) * part_bytes)
    store = request.app.state.store
    with store.blobs.receiving() as incoming:
        await _receive(request, incoming, length)
        if incoming.size != length:
            raise bad_request(f"Part {number} has {incoming.size} bytes, not {length}")
        await run_in_threadpool(incoming.move_to, _part(_parts(store.root, oid, part_bytes), number))
    return Response(headers={"ETag": f'"{incoming.sha256}"'})


@router.post("/uploads/{oid}/{size}/complete/{part_bytes}")
def complete(request: Request, completion: Completion, oid: str, size: int, part_bytes: int, sig: str = "") -> Response:
    """Put the parts together; a 400 if one is missing or was sent otherwise, or the whole is not what it
    should be."""
    wanted = _signed(request, oid, size, f"/complete/{part_bytes}", sig)
    store = request.app.state.store
    folder = _parts(store.root, oid, part_bytes)
    numbers = [part.partNumber for part in completion.parts]
    count = -(-size // part_bytes)
    if numbers != list(range(1, count + 1)):
        raise bad_request(f"Invalid parts {numbers[:20]}: 1 to {count} are wanted, in order")
    if not store.blobs.find(oid):
        with store.blobs.receiving() as incoming:
            _join(folder, completion.parts, incoming)
            _keep(store.blobs, incoming, wanted)
    shutil.rmtree(folder, ignore_errors=True)
    return Response()


def _join(folder: Path, parts: Sequence[Part], incoming: Incoming) -> None:
    for part in parts:
        path = _part(folder, part.partNumber)
        if not path.exists():
            raise bad_request(f"Part {part.partNumber} has not been uploaded")
        digest = hashlib.sha256()
        for chunk in chunks(path):
            digest.update(chunk)
            incoming.write(chunk)
        if part.etag.strip('"') != digest.hexdigest():
            raise bad_request(f"Part {part.partNumber} is not the one with the ETag {part.etag[:80]!r}")


async def _receive(request: Request, incoming: Incoming, limit: int) -> None:
    async for chunk in request.stream():
        incoming.write(chunk)
        if incoming.size > limit:
            raise bad_request(f"More than the {limit} bytes that were announced")


def _keep(blobs: Blobs, incoming: Incoming, wanted: LfsObject) -> None:
    if (incoming.sha256, incoming.size) != (wanted.oid, wanted.size):
        raise bad_request(
            f"The upload is {incoming.sha256} of {incoming.size} bytes, not {wanted.oid} of {wanted.size}"
        )
    blobs.keep(incoming)


def _parts(root: Path, oid: str, part_bytes: int) -> Path:
    return root / "parts" / f"{oid}-{part_bytes}"


def _part(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}"


def _sign(secret: bytes, wanted: LfsObject, deed: str) -> str:
    return hmac.new(secret, f"{wanted.oid}/{wanted.size}{deed}".encode(), hashlib.sha256).hexdigest()


def _signed(request: Request, oid: str, size: int, deed: str, sig: str) -> LfsObject:
    if not re.fullmatch(r"[0-9a-f]{64}", oid):
        raise bad_request(f"Invalid SHA-256 {oid[:80]!r}")
    wanted = LfsObject(oid=oid, size=size)
    if not hmac.compare_digest(sig, _sign(request.app.state.store.secret, wanted, deed)):
        raise forbidden("The signature of this upload address is wrong")
    return wanted

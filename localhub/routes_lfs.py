"""Uploads of large files by the LFS protocol: one PUT, or parts that are put together in the end.

The addresses to upload to carry the user's name and a signature in place of the token, which clients do not send
there. What is kept already need not be sent again by those who could read it anyway; others are asked for the
bytes, as if they were the first.
"""

from __future__ import annotations

import hashlib
import hmac
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from localhub.access import Asking, Caller
from localhub.blobs import Incoming, chunks
from localhub.errors import HubError, bad_request, forbidden
from localhub.names import SHA256
from localhub.repo import Repo
from localhub.store import Store

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
    """Where to upload each file; a file without `actions` need not be."""
    caller.contributing()
    repo = caller.readable(owner, name)
    if request.operation != "upload":
        raise bad_request(f'"operation" must be "upload", not {request.operation!r}: download from resolve/')
    multipart = "multipart" in request.transfers
    in_hand = caller.in_hand((wanted.oid for wanted in request.objects), repo)
    return {
        "transfer": "multipart" if multipart else "basic",
        "objects": [
            {"oid": wanted.oid, "size": wanted.size}
            | ({} if wanted.oid in in_hand else _instructions(caller, repo, wanted, multipart))
            for wanted in request.objects
        ],
    }


def _instructions(caller: Caller, repo: Repo, wanted: LfsObject, multipart: bool) -> dict[str, Any]:
    in_parts = multipart and wanted.size > caller.limits.multipart_above
    upload = _upload_in_parts(caller, wanted) if in_parts else {"href": _address(caller, wanted, ""), "header": {}}
    verify = {"href": f"{caller.endpoint}/{repo.id}.git/info/lfs/objects/verify"}
    return {"authenticated": True, "actions": {"upload": upload, "verify": verify}}


def _upload_in_parts(caller: Caller, wanted: LfsObject) -> dict[str, Any]:
    length = caller.limits.part_bytes
    count = -(-wanted.size // length)
    parts = {str(i): _address(caller, wanted, f"/part/{length}/{i}") for i in range(1, count + 1)}
    href = _address(caller, wanted, f"/complete/{length}")
    return {"href": href, "header": {"chunk_size": str(length), **parts}}


def _address(caller: Caller, wanted: LfsObject, deed: str) -> str:
    sender = caller.known().name
    signature = _sign(caller.store.secret, sender, wanted, deed)
    return f"{caller.endpoint}/uploads/{wanted.oid}/{wanted.size}{deed}?by={sender}&sig={signature}"


@router.post("/{owner}/{name}.git/info/lfs/objects/verify")
def verify(caller: Asking, owner: str, name: str, request: LfsObject) -> dict[str, str]:
    """Whether the caller's upload has come in full."""
    held = caller.in_hand([request.oid], caller.readable(owner, name))
    blob = caller.store.blobs.find(request.oid)
    if request.oid not in held or blob is None or blob.size != request.size:
        raise HubError(404, f"The file {request.oid} has not been uploaded")
    return {"message": "ok"}


@dataclass(frozen=True)
class Upload:
    """An upload by an address that is signed: `sender` sends the file `wanted`."""

    store: Store
    sender: str
    wanted: LfsObject

    def parts(self, part_bytes: int) -> Path:
        """The folder in which the parts are kept until all have come."""
        return self.store.root / "parts" / self.sender / f"{self.wanted.oid}-{part_bytes}"

    def keep(self, incoming: Incoming) -> None:
        """Keep what has come as the sender's; a 400 if it is not the file that was announced."""
        wanted = self.wanted
        if (incoming.sha256, incoming.size) != (wanted.oid, wanted.size):
            raise bad_request(
                f"The upload is {incoming.sha256} of {incoming.size} bytes, not {wanted.oid} of {wanted.size}"
            )
        self.store.blobs.keep(incoming)
        self.store.senders.note(self.sender, wanted.oid)


def _signed(request: Request, oid: str, size: int, deed: str) -> Upload:
    if not SHA256.fullmatch(oid):
        raise bad_request(f"Invalid SHA-256 {oid[:80]!r}")
    store: Store = request.app.state.store
    sender, signature = request.query_params.get("by", ""), request.query_params.get("sig", "")
    wanted = LfsObject(oid=oid, size=size)
    if not hmac.compare_digest(signature.encode(), _sign(store.secret, sender, wanted, deed).encode()):
        raise forbidden("The signature of this upload address is wrong")
    return Upload(store, sender, wanted)


def _sign(secret: bytes, sender: str, wanted: LfsObject, deed: str) -> str:
    text = f"{sender}/{wanted.oid}/{wanted.size}{deed}"
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


@router.put("/uploads/{oid}/{size}")
async def upload_whole(request: Request, oid: str, size: int) -> Response:
    """All bytes of a file; a 400 if they are not what the address says."""
    upload = _signed(request, oid, size, "")
    with upload.store.blobs.receiving() as incoming:
        await _receive(request, incoming, size)
        await run_in_threadpool(upload.keep, incoming)
    return Response()


@router.put("/uploads/{oid}/{size}/part/{part_bytes}/{number}")
async def upload_part(request: Request, oid: str, size: int, part_bytes: int, number: int) -> Response:
    """One part of a file; its ETag is wanted back when the parts are put together."""
    upload = _signed(request, oid, size, f"/part/{part_bytes}/{number}")
    length = min(part_bytes, size - (number - 1) * part_bytes)
    with upload.store.blobs.receiving() as incoming:
        await _receive(request, incoming, length)
        if incoming.size != length:
            raise bad_request(f"Part {number} has {incoming.size} bytes, not {length}")
        await run_in_threadpool(incoming.move_to, _part(upload.parts(part_bytes), number))
    return Response(headers={"ETag": f'"{incoming.sha256}"'})


@router.post("/uploads/{oid}/{size}/complete/{part_bytes}")
def complete(request: Request, completion: Completion, oid: str, size: int, part_bytes: int) -> Response:
    """Put the parts together; a 400 if one is missing or was sent otherwise, or the whole is not what it
    should be."""
    upload = _signed(request, oid, size, f"/complete/{part_bytes}")
    numbers = [part.partNumber for part in completion.parts]
    count = -(-size // part_bytes)
    if numbers != list(range(1, count + 1)):
        raise bad_request(f"Invalid parts {numbers[:20]}: 1 to {count} are wanted, in order")
    folder = upload.parts(part_bytes)
    # Whoever has sent it all and asks again has not got the answer; that somebody else has sent it is no reason.
    if not upload.store.senders.has_sent(upload.sender, oid):
        with upload.store.blobs.receiving() as incoming:
            _join(folder, completion.parts, incoming)
            upload.keep(incoming)
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


def _part(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}"

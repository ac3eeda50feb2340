"""Routes of file contents: downloads, and uploads of large files by the LFS protocol.

A large file comes in one PUT, or in parts that are joined at the end. Clients do not send their token to an upload
address, so it carries the user's name and a signature instead.
"""

from __future__ import annotations

import hashlib
import hmac
import mimetypes
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from pydantic import BaseModel, Field, JsonValue
from starlette.concurrency import run_in_threadpool

from localhub.errors import HubError, bad_request
from localhub.names import check_sha256
from localhub.protocol.access import BodyText, Caller, CurrentCaller, ReadableRepo, VisibleRepo
from localhub.protocol.json_views import JsonObject
from localhub.store.blobs import Incoming, read_chunks
from localhub.store.repo import Repo
from localhub.store.store import Store

router = APIRouter()
LARGEST_BYTES = 5 * 10**12
# Types that a browser may show as they are. Any other file of a repo could run code in this server's name.
SHOWN_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml", "application/json"})


@router.api_route("/{owner}/{name}/resolve/{revision:revision}/{path:file}", methods=["GET", "HEAD"])
def download_file(caller: CurrentCaller, repo: ReadableRepo, revision: str, path: str) -> Response:
    """A file at a revision; the headers give the client the commit, the hash and the size.

    With a Xet storage, small files are in a cache of their own, as on the real Hub.
    """
    sha = repo.resolve(revision)
    if caller.xet is None or repo.entry(path, sha).lfs:
        return send_file(caller, repo, sha, path, "models")
    cached = f"/api/resolve-cache/models/{repo.id}/{sha}/{quote(path)}"
    return RedirectResponse(cached, 307, headers={"X-Repo-Commit": sha})


@router.api_route("/api/resolve-cache/models/{owner}/{name}/{sha}/{path:file}", methods=["GET", "HEAD"])
def download_cached_file(caller: CurrentCaller, repo: ReadableRepo, sha: str, path: str) -> FileResponse:
    """A small file at a commit."""
    return send_file(caller, repo, sha, path, "models")


def send_file(caller: Caller, repo: Repo, revision: str, path: str, kinds: str) -> FileResponse:
    """A file of a repo; `kinds` is the repo's place in the API, "models" or "datasets"."""
    sha = repo.resolve(revision)
    entry = repo.entry(path, sha)
    etag = f'"{entry.etag}"'
    headers = {
        "ETag": etag,
        "X-Repo-Commit": sha,
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(path.rpartition('/')[2])}",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }
    if entry.lfs:
        headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(entry.size)}
        if caller.xet is not None:
            token = f"{caller.endpoint}/api/{kinds}/{repo.id}/xet-read-token/{sha}"
            headers |= {"X-Xet-Hash": caller.xet.offer(entry.sha256), "Link": f'<{token}>; rel="xet-auth"'}
    return FileResponse(caller.store.blobs.path(entry.sha256), headers=headers, media_type=_choose_media_type(path))


def _choose_media_type(path: str) -> str:
    guessed = mimetypes.guess_type(path)[0] or "application/octet-stream"
    if guessed in SHOWN_TYPES:
        return guessed
    return "text/plain; charset=utf-8" if guessed.startswith("text/") else "application/octet-stream"


class LfsObject(BaseModel):
    """A file to upload: its SHA-256 and its size in bytes."""

    oid: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0, le=LARGEST_BYTES)


class UploadedPart(BaseModel):
    """A part that the client has sent, with the ETag of the answer."""

    partNumber: int = Field(ge=1)  # noqa: N815  as sent
    etag: str


@router.post("/{owner}/{name}.git/info/lfs/objects/batch")
def offer_uploads(
    caller: CurrentCaller,
    repo: VisibleRepo,
    operation: BodyText,
    objects: Annotated[list[LfsObject], Body(max_length=1000)],
    transfers: Annotated[list[str], Body()] = ["basic"],  # noqa: B006  FastAPI copies it
) -> JsonObject:
    """The address to upload each file to; a file without `actions` need not be uploaded."""
    return describe_uploads(caller, repo, operation, objects, transfers, "")


def describe_uploads(
    caller: Caller, repo: Repo, operation: str, objects: Sequence[LfsObject], transfers: Sequence[str], place: str
) -> JsonObject:
    """How to upload each file; `place` stands before the repo's id in its address."""
    caller.author("upload files")
    if operation != "upload":
        raise bad_request(f'"operation" must be "upload", not {operation!r}: download from resolve/')
    multipart = "multipart" in transfers
    uploaded = caller.find_uploaded((wanted.oid for wanted in objects), repo)
    answers: list[JsonValue] = []
    for wanted in objects:
        actions = {} if wanted.oid in uploaded else _describe_upload(caller, f"{place}{repo.id}", wanted, multipart)
        answers.append({"oid": wanted.oid, "size": wanted.size, **actions})
    return {"transfer": "multipart" if multipart else "basic", "objects": answers}


def _describe_upload(caller: Caller, address: str, wanted: LfsObject, multipart: bool) -> JsonObject:
    upload: JsonObject = {"href": _sign_address(caller, wanted, ""), "header": {}}
    if multipart and wanted.size > caller.limits.multipart_above:
        # In the protocol, the "headers" of an upload in parts are the size of a part and the address of each.
        length = caller.limits.part_bytes
        count = -(-wanted.size // length)
        parts = {str(i): _sign_address(caller, wanted, f"/part/{length}/{i}") for i in range(1, count + 1)}
        header: JsonObject = {"chunk_size": str(length), **parts}
        upload = {"href": _sign_address(caller, wanted, f"/complete/{length}"), "header": header}
    verify: JsonObject = {"href": f"{caller.endpoint}/{address}.git/info/lfs/objects/verify"}
    return {"authenticated": True, "actions": {"upload": upload, "verify": verify}}


def _sign_address(caller: Caller, wanted: LfsObject, action: str) -> str:
    sender = caller.require_identity().name
    signature = _sign_upload(caller.store.secret, sender, wanted, action)
    return f"{caller.endpoint}/uploads/{wanted.oid}/{wanted.size}{action}?by={sender}&sig={signature}"


def _sign_upload(secret: bytes, sender: str, wanted: LfsObject, action: str) -> str:
    text = f"{sender}/{wanted.oid}/{wanted.size}{action}"
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


@router.post("/{owner}/{name}.git/info/lfs/objects/verify")
def verify_upload(caller: CurrentCaller, repo: VisibleRepo, request: LfsObject) -> dict[str, str]:
    """Whether the caller's upload has arrived in full; a 404 if not."""
    uploaded = caller.find_uploaded([request.oid], repo)
    if request.oid not in uploaded or caller.store.blobs.size(request.oid) != request.size:
        raise HubError(404, f"The file {request.oid} has not been uploaded")
    return {"message": "ok"}


@dataclass(frozen=True)
class Upload:
    """An upload to a signed address: `sender` sends the file `wanted`."""

    store: Store
    sender: str
    wanted: LfsObject

    def parts_folder(self, part_bytes: int) -> Path:
        """The folder that keeps the parts until all have arrived."""
        return self.store.root / "parts" / self.sender / f"{self.wanted.oid}-{part_bytes}"

    def keep(self, incoming: Incoming) -> None:
        """Keep the received file as the sender's; a 400 if it is not the one that was announced."""
        oid, size = self.wanted.oid, self.wanted.size
        if (incoming.sha256, incoming.size) != (oid, size):
            raise bad_request(f"The upload is {incoming.sha256} of {incoming.size} bytes, not {oid} of {size}")
        self.store.blobs.keep(incoming)
        self.store.senders.record(self.sender, oid)


def _check_signature(request: Request, oid: str, size: int, action: str) -> Upload:
    store: Store = request.app.state.store
    sender, signature = request.query_params.get("by", ""), request.query_params.get("sig", "")
    wanted = LfsObject(oid=check_sha256(oid), size=size)
    if not hmac.compare_digest(signature.encode(), _sign_upload(store.secret, sender, wanted, action).encode()):
        raise HubError(403, "The signature of this upload address is wrong")
    return Upload(store, sender, wanted)


@router.put("/uploads/{oid}/{size}")
async def upload_whole(request: Request, oid: str, size: int) -> Response:
    """Receive a whole file; a 400 if it is not the one in the address."""
    upload = _check_signature(request, oid, size, "")
    with upload.store.blobs.receiving() as incoming:
        await _receive_body(request, incoming, size)
        await run_in_threadpool(upload.keep, incoming)
    return Response()


@router.put("/uploads/{oid}/{size}/part/{part_bytes}/{number}")
async def upload_part(request: Request, oid: str, size: int, part_bytes: int, number: int) -> Response:
    """Receive a part of a file; the client gives its ETag back when the parts are to be joined."""
    upload = _check_signature(request, oid, size, f"/part/{part_bytes}/{number}")
    length = min(part_bytes, size - (number - 1) * part_bytes)
    with upload.store.blobs.receiving() as incoming:
        await _receive_body(request, incoming, length)
        if incoming.size != length:
            raise bad_request(f"Part {number} has {incoming.size} bytes, not {length}")
        await run_in_threadpool(incoming.move_to, _part_file(upload.parts_folder(part_bytes), number))
    return Response(headers={"ETag": f'"{incoming.sha256}"'})


@router.post("/uploads/{oid}/{size}/complete/{part_bytes}")
def complete_upload(
    request: Request, oid: str, size: int, part_bytes: int, parts: Annotated[list[UploadedPart], Body(embed=True)]
) -> Response:
    """Join the parts; a 400 if one is absent or another than the client means, or if the whole is not as announced."""
    upload = _check_signature(request, oid, size, f"/complete/{part_bytes}")
    numbers = [part.partNumber for part in parts]
    count = -(-size // part_bytes)
    if numbers != list(range(1, count + 1)):
        raise bad_request(f"Invalid parts {numbers[:20]}: expected 1 to {count}, in order")
    folder = upload.parts_folder(part_bytes)
    # A sender who repeats this has lost the answer. That somebody else has sent the file does not count.
    if not upload.store.senders.has_sent(upload.sender, oid):
        with upload.store.blobs.receiving() as incoming:
            _join_parts(folder, parts, incoming)
            upload.keep(incoming)
    shutil.rmtree(folder, ignore_errors=True)
    return Response()


def _join_parts(folder: Path, parts: Sequence[UploadedPart], incoming: Incoming) -> None:
    for part in parts:
        path = _part_file(folder, part.partNumber)
        if not path.exists():
            raise bad_request(f"Part {part.partNumber} has not been uploaded")
        digest = hashlib.sha256()
        for chunk in read_chunks(path):
            digest.update(chunk)
            incoming.write(chunk)
        if part.etag.strip('"') != digest.hexdigest():
            raise bad_request(f"Part {part.partNumber} is not the one with the ETag {part.etag[:80]!r}")


async def _receive_body(request: Request, incoming: Incoming, limit: int) -> None:
    async for chunk in request.stream():
        incoming.write(chunk)
        if incoming.size > limit:
            raise bad_request(f"More than the {limit} bytes that were announced")


def _part_file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}"

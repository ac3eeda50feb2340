"""The bytes of files, whole or in ranges."""

from __future__ import annotations

import mimetypes
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import FileResponse

from localhub.access import Asking
from localhub.errors import entry_not_found

router = APIRouter()
# What a browser may show as it is; all else of a repo's files would run or render in this server's name.
SHOWN = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml", "application/json"})


@router.api_route("/{owner}/{name}/resolve/{revision:revision}/{path:file}", methods=["GET", "HEAD"])
def resolve(caller: Asking, owner: str, name: str, revision: str, path: str) -> FileResponse:
    """A file at a revision, with the headers by which the client knows commit, content and size."""
    repo = caller.opened(owner, name)
    sha = repo.resolve(revision)
    entry = repo.tree(sha).get(path)
    if entry is None:
        raise entry_not_found(path, sha)
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
    return FileResponse(caller.store.blobs.path(entry.sha256), headers=headers, media_type=_media_type(path))


def _media_type(path: str) -> str:
    guessed = mimetypes.guess_type(path)[0] or "application/octet-stream"
    if guessed in SHOWN:
        return guessed
    return "text/plain; charset=utf-8" if guessed.startswith("text/") else "application/octet-stream"

"""The lines of a commit request (one JSON object each), read into a draft of the commit."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Iterable, Set

from pydantic import JsonValue

from localhub.errors import HubError, bad_request
from localhub.names import COMMIT_ID, check_path, check_sha256
from localhub.protocol.json_views import JsonObject
from localhub.store.blobs import Blobs
from localhub.store.commits import LARGEST_REGULAR_BYTES, Changes, Entry
from localhub.store.repo import Author, Draft

TITLE_CHARACTERS = 500
MESSAGE_CHARACTERS = 65_536


async def read_lines(stream: AsyncIterator[bytes], *, line_bytes: int, body_bytes: int) -> list[bytes]:
    """The lines of a request body; a 413 if one is longer than `line_bytes` or all are longer than `body_bytes`."""
    found: list[bytes] = []
    rest = bytearray()
    total = 0
    async for chunk in stream:
        total += len(chunk)
        rest += chunk
        *whole, last = rest.split(b"\n") if b"\n" in chunk else [rest]
        found += [bytes(line) for line in whole if line.strip()]
        rest = last
        if total > body_bytes or max([len(rest), *(len(line) for line in whole)]) > line_bytes:
            raise HubError(413, f"Commit too large: at most {line_bytes} bytes a line and {body_bytes} in all; use LFS")
    return [*found, bytes(rest)] if rest.strip() else found


def read_draft(
    lines: Iterable[bytes],
    author: Author,
    blobs: Blobs,
    find_uploaded: Callable[[Set[str]], Set[str]],
    receive: Callable[[str], None],
) -> Draft:
    """Read the lines and keep the files that they carry; a 400 names what is wrong.

    find_uploaded: those of some SHA-256 that the author may name instead of sending the bytes.
    receive: keeps the content with a SHA-256, if the author has sent it to a storage beside the Hub.
    """
    header: JsonObject = {}
    files: dict[str, Entry] = {}
    named: dict[str, str] = {}  # a path of each large file, by SHA-256
    deleted: dict[str, list[str]] = {"deletedFile": [], "deletedFolder": []}
    for line in lines:
        key, value = _parse_line(line)
        if key == "header":
            header = value
        elif key == "file":
            path, content = _decode_file(value)
            blobs.put(content)
            files[path] = Entry.regular(content)
        elif key == "lfsFile":
            path = check_path(_get_text(value, "path"))
            receive(check_sha256(_get_text(value, "oid")))
            files[path] = _find_large_file(path, value, blobs)
            named[files[path].sha256] = path
        elif key in deleted:
            deleted[key].append(check_path(_get_text(value, "path").rstrip("/")))
        else:
            raise bad_request(f"Unknown commit operation {key!r}")
    for oid in named.keys() - find_uploaded(named.keys()):
        raise _not_uploaded(named[oid], oid)
    return Draft(
        changes=Changes(files, deleted["deletedFile"], deleted["deletedFolder"]),
        author=author,
        title=_get_text(header, "summary")[:TITLE_CHARACTERS],
        message=str(header.get("description") or "")[:MESSAGE_CHARACTERS],
        parent=_check_parent(header.get("parentCommit")),
    )


def _parse_line(line: bytes) -> tuple[str, JsonObject]:
    try:
        item: JsonValue = json.loads(line)
    except (ValueError, RecursionError):
        item = None
    key, value = (item.get("key"), item.get("value")) if isinstance(item, dict) else (None, None)
    if not isinstance(key, str) or not isinstance(value, dict):
        raise bad_request(f"Invalid line {line[:80]!r}: expected an object with key and value")
    return key, value


def _check_parent(parent: JsonValue) -> str | None:
    if parent is None or (isinstance(parent, str) and COMMIT_ID.fullmatch(parent)):
        return parent
    raise bad_request(f"Invalid parentCommit {str(parent)[:80]!r}: expected the 40 digits of a commit id")


def _decode_file(value: JsonObject) -> tuple[str, bytes]:
    path, text = check_path(_get_text(value, "path")), value.get("content")
    encoding = value.get("encoding", "utf-8")
    if not isinstance(text, str) or encoding not in ("utf-8", "base64"):
        raise bad_request(f"Invalid file {path!r}: expected content as text, and encoding utf-8 or base64")
    try:
        content = base64.b64decode(text, validate=True) if encoding == "base64" else text.encode()
    except ValueError:
        raise bad_request(f"Invalid file {path!r}: its content is not base64") from None
    if len(content) > LARGEST_REGULAR_BYTES:
        raise HubError(413, f"{path} has {len(content)} bytes; files above {LARGEST_REGULAR_BYTES} go through LFS")
    return path, content


def _find_large_file(path: str, value: JsonObject, blobs: Blobs) -> Entry:
    oid = _get_text(value, "oid")
    size = blobs.size(oid)
    if size is None or value.get("size", size) != size:
        raise _not_uploaded(path, oid)
    return Entry.in_lfs(oid, size)


def _not_uploaded(path: str, oid: str) -> HubError:
    """The same answer for an absent file and for somebody else's: it must not reveal which files are kept."""
    return bad_request(f"LFS pointer of {path!r} points to a file that was not uploaded: {oid}")


def _get_text(value: JsonObject, key: str) -> str:
    text = value.get(key)
    if not isinstance(text, str) or not text.strip():
        raise bad_request(f"Invalid {key} {str(text)[:80]!r}: expected a text")
    return text

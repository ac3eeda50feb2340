"""The lines of a commit request, read into changes."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Iterable, Set
from dataclasses import dataclass
from typing import Any

from localhub.blobs import Blobs
from localhub.commits import LARGEST_REGULAR_BYTES, Changes, Entry, lfs_entry, regular_entry
from localhub.errors import HubError, bad_request
from localhub.names import COMMIT_ID, check_path

LONGEST_TITLE = 500
LONGEST_MESSAGE = 65_536


@dataclass(frozen=True)
class Order:
    """A commit as it is asked for; `parent` is the head that it must find, if any."""

    title: str
    message: str
    parent: str | None
    changes: Changes


async def lines(stream: AsyncIterator[bytes], *, longest: int, most: int) -> list[bytes]:
    """The lines of a request body; a 413 if one has more than `longest` bytes or all have more than
    `most`."""
    found: list[bytes] = []
    rest = bytearray()
    total = 0
    async for chunk in stream:
        total += len(chunk)
        rest += chunk
        *whole, last = rest.split(b"\n") if b"\n" in chunk else [rest]
        found += [bytes(line) for line in whole if line.strip()]
        rest = last
        if total > most or max([len(rest), *(len(line) for line in whole)]) > longest:
            raise HubError(413, f"Commit too large: at most {longest} bytes a line and {most} in all; use LFS")
    return [*found, bytes(rest)] if rest.strip() else found


def read_order(body: Iterable[bytes], blobs: Blobs, in_hand: Callable[[Set[str]], Set[str]]) -> Order:
    """Read the lines, and keep the files that they carry; a 400 that names what is wrong.

    `in_hand` tells which of some SHA-256 the sender may name instead of sending the bytes.
    """
    header: dict[str, Any] = {}
    files: dict[str, Entry] = {}
    named: dict[str, str] = {}  # by SHA-256: a path that it is to stand at
    deleted: dict[str, list[str]] = {"deletedFile": [], "deletedFolder": []}
    for line in body:
        key, value = _operation(line)
        if key == "header":
            header = value
        elif key == "file":
            path, content = _inline(value)
            blobs.put(content)
            files[path] = regular_entry(content)
        elif key == "lfsFile":
            path = check_path(_text(value, "path"))
            files[path] = _large(path, value, blobs)
            named[files[path].sha256] = path
        elif key in deleted:
            deleted[key].append(check_path(_text(value, "path").rstrip("/")))
        else:
            raise bad_request(f"Unknown commit operation {key!r}")
    for oid in named.keys() - in_hand(named.keys()):
        raise _not_uploaded(named[oid], oid)
    parent = header.get("parentCommit")
    if parent is not None and not (isinstance(parent, str) and COMMIT_ID.fullmatch(parent)):
        raise bad_request(f"Invalid parentCommit {str(parent)[:80]!r}: the 40 digits of a commit id are wanted")
    return Order(
        title=_text(header, "summary")[:LONGEST_TITLE],
        message=str(header.get("description") or "")[:LONGEST_MESSAGE],
        parent=parent,
        changes=Changes(files, tuple(deleted["deletedFile"]), tuple(deleted["deletedFolder"])),
    )


def _operation(line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        item = json.loads(line)
        key, value = item["key"], item["value"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise bad_request(f"Invalid line {line[:80]!r}: an object with key and value is wanted") from None
    if not isinstance(key, str) or not isinstance(value, dict):
        raise bad_request(f"Invalid line {line[:80]!r}: an object with key and value is wanted")
    return key, value


def _inline(value: dict[str, Any]) -> tuple[str, bytes]:
    path, text = check_path(_text(value, "path")), value.get("content")
    encoding = value.get("encoding", "utf-8")
    if not isinstance(text, str) or encoding not in ("utf-8", "base64"):
        raise bad_request(f"Invalid file {path!r}: content as text is wanted, encoding utf-8 or base64")
    try:
        content = base64.b64decode(text, validate=True) if encoding == "base64" else text.encode()
    except ValueError:
        raise bad_request(f"Invalid file {path!r}: its content is not base64") from None
    if len(content) > LARGEST_REGULAR_BYTES:
        raise HubError(413, f"{path} has {len(content)} bytes; files above {LARGEST_REGULAR_BYTES} go through LFS")
    return path, content


def _large(path: str, value: dict[str, Any], blobs: Blobs) -> Entry:
    oid = _text(value, "oid")
    blob = blobs.find(oid)
    if blob is None or value.get("size", blob.size) != blob.size:
        raise _not_uploaded(path, oid)
    return lfs_entry(blob.sha256, blob.size)


def _not_uploaded(path: str, oid: str) -> HubError:
    """One answer for a file that is absent and for another's: it must not tell which files are kept."""
    return bad_request(f"LFS pointer of {path!r} points to a file that was not uploaded: {oid}")


def _text(value: dict[str, Any], key: str) -> str:
    text = value.get(key)
    if not isinstance(text, str) or not text.strip():
        raise bad_request(f"Invalid {key} {str(text)[:80]!r}: a text is wanted")
    return text

"""File contents, each kept once under its SHA-256, and the record of who has uploaded which."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from localhub.names import check_sha256
from localhub.store.disk import move_into_place, sync_folder

CHUNK_BYTES = 1 << 20


class Incoming:
    """Content being received: written to a temporary file and hashed on the way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """The hash of the bytes so far."""
        return self._digest.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Append some bytes."""
        self._file.write(chunk)
        self._digest.update(chunk)
        self.size += len(chunk)

    def move_to(self, target: Path) -> None:
        """Give the file its final name, which survives a crash."""
        move_into_place(self._file, Path(self._file.name), target)


class Blobs:
    """The folder of kept content."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, sha256: str) -> Path:
        """The file of the content with this SHA-256, whether it is kept or not; a 400 for a malformed hash."""
        return self._folder / sha256[:2] / check_sha256(sha256)[2:]

    def size(self, sha256: str) -> int | None:
        """The number of bytes with this SHA-256; None if they are not kept."""
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def read(self, sha256: str, limit: int = -1) -> bytes:
        """The bytes of a blob, at most the first `limit` of them if a limit is given."""
        with self.path(sha256).open("rb") as file:
            return file.read(limit)

    def put(self, content: bytes | Path) -> str:
        """Keep these bytes, or the bytes of this file; returns their SHA-256."""
        with self.receiving() as incoming:
            for chunk in [content] if isinstance(content, bytes) else read_chunks(content):
                incoming.write(chunk)
            self.keep(incoming)
            return incoming.sha256

    @contextmanager
    def receiving(self) -> Iterator[Incoming]:
        """A temporary file for content whose hash is not known yet; it is deleted unless it is moved to its place."""
        folder = self._folder / "incoming"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            try:
                yield Incoming(file)
            finally:
                Path(file.name).unlink(missing_ok=True)

    def keep(self, incoming: Incoming) -> None:
        """Move received content to its place, for good."""
        path = self.path(incoming.sha256)
        if not path.exists():
            incoming.move_to(path)


class Senders:
    """Records of uploads: an empty file for each user and each SHA-256 that they have uploaded in full.

    Knowing the hash of somebody's private file must not open it, so the Hub has to remember who sent the bytes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def record(self, user: str, sha256: str) -> None:
        """Record, through a crash too, that the user has sent this content."""
        path = self._path(user, sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        sync_folder(path.parent)

    def has_sent(self, user: str, sha256: str) -> bool:
        """Whether the user has sent this content."""
        return self._path(user, sha256).exists()

    def _path(self, user: str, sha256: str) -> Path:
        return self._folder / user / sha256[:2] / sha256[2:]


def read_chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, a mebibyte at a time."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk

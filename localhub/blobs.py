"""Content-addressed files: each stands once, under the SHA-256 of its bytes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localhub.disk import sync_folder
from localhub.errors import bad_request
from localhub.names import SHA256

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Blob:
    """Some bytes that are kept: their SHA-256 and their number."""

    sha256: str
    size: int


class Incoming:
    """Bytes on their way in: written to a temporary file, and hashed as they come."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._file = os.fdopen(descriptor, "wb")
        self._digest = hashlib.sha256()
        self.path = path
        self.size = 0

    @property
    def sha256(self) -> str:
        """The hash of what has come so far."""
        return self._digest.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Take some more bytes."""
        self._file.write(chunk)
        self._digest.update(chunk)
        self.size += len(chunk)

    def move_to(self, target: Path) -> None:
        """Make what has come stand at `target`, through a crash too."""
        self._file.flush()
        os.fsync(self._file.fileno())
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path.replace(target)
        sync_folder(target.parent)

    def close(self) -> None:
        """Give the temporary file up, if it still stands under its temporary name."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class Blobs:
    """The folder of kept bytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, sha256: str) -> Path:
        """Where the bytes with this SHA-256 stand, if they are kept."""
        if not SHA256.fullmatch(sha256):
            raise bad_request(f"Invalid SHA-256 {sha256[:80]!r}")
        return self._folder / sha256[:2] / sha256[2:]

    def find(self, sha256: str) -> Blob | None:
        """The blob with this SHA-256, or None."""
        try:
            return Blob(sha256, self.path(sha256).stat().st_size)
        except FileNotFoundError:
            return None

    def read(self, sha256: str, limit: int | None = None) -> bytes:
        """The bytes of a blob, the first `limit` of them if a limit is given."""
        with self.path(sha256).open("rb") as file:
            return file.read(-1 if limit is None else limit)

    def put(self, content: bytes | Path) -> Blob:
        """Keep these bytes, or the bytes of this file."""
        with self.receiving() as incoming:
            for chunk in [content] if isinstance(content, bytes) else chunks(content):
                incoming.write(chunk)
            return self.keep(incoming)

    @contextmanager
    def receiving(self) -> Iterator[Incoming]:
        """Somewhere to write bytes whose hash is not known yet; what is not kept is thrown away."""
        folder = self._folder / "incoming"
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder)
        incoming = Incoming(descriptor, Path(name))
        try:
            yield incoming
        finally:
            incoming.close()

    def keep(self, incoming: Incoming) -> Blob:
        """Move received bytes to their place, for good."""
        path = self.path(incoming.sha256)
        if not path.exists():
            incoming.move_to(path)
        return Blob(incoming.sha256, incoming.size)


def chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, a mebibyte at a time."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk

"""Writing so that a crash leaves the old file or the new one, never half of either."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import FileLock


@contextmanager
def replacing(target: Path) -> Iterator[IO[bytes]]:
    """A file to write; when the block ends well its bytes are on the disk and it stands at `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".new-")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def canonical(value: Any) -> bytes:
    """The one JSON text of a value: what digests are taken of."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def write_json(target: Path, value: Any) -> None:
    """Write `value` at `target`, atomically."""
    with replacing(target) as file:
        file.write(canonical(value))


def read_json(path: Path, default: Any) -> Any:
    """The value at `path`, or `default` if there is no such file."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return default


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` against other threads and other processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):  # an object of its own for each holder, so that threads exclude each other too
        yield

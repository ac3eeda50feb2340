"""Writes that survive a crash: a reader finds the old file or the new one, never half of either."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, TypeVar

from filelock import FileLock
from pydantic import TypeAdapter

T = TypeVar("T")


def move_into_place(file: IO[bytes], temporary: Path, target: Path) -> None:
    """Rename the open file `temporary` to `target`, in the order that a power cut cannot break: bytes, name, folder."""
    file.flush()
    os.fsync(file.fileno())
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make the names inside `folder` last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def encode_json(value: object) -> bytes:
    """The canonical JSON of a value, dataclasses included, which digests are taken of."""
    return json.dumps(value, default=asdict, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def write_json(target: Path, value: object) -> None:
    """Write `value` to `target`, atomically."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".new-", delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(encode_json(value))
            move_into_place(file, temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def read_json(path: Path, schema: TypeAdapter[T]) -> T | None:
    """The value at `path`, checked against its type; None if there is no such file."""
    try:
        return schema.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path` against other threads and other processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):  # a new object per holder: one shared object would let a second thread in
        yield

"""Files and folders that are written whole or not at all, and are on the disk before anything relies on them.

Each is filled under a hidden name next to its place and then renamed: a reader never sees half of one, and a crash
leaves the old content or the new.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from merging.errors import MergingError

_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # answers of some network file systems


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A folder to fill, which takes the name `target` at the end; if anything fails, nothing is left of it.

    MergingError if `target` exists and is not an empty folder, if another process is writing it, and for every OSError.
    """
    partial = target.with_name(f".{target.name}.partial")
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _only_writer(target):
            if not is_free(target):
                raise MergingError(f"{target}: already exists; remove it, or choose another folder")
            try:
                shutil.rmtree(partial, ignore_errors=True)  # left by a run that was killed
                partial.mkdir()
                yield partial
                move_folder(partial, target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)


def is_free(target: Path) -> bool:
    """Whether a folder may be written under this name: there is nothing, or a folder with nothing in it."""
    if target.is_symlink() or not target.is_dir():
        return not (target.is_symlink() or target.exists())
    return not any(target.iterdir())


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn every OSError on the way to the folder `target` into a MergingError that names it."""
    try:
        yield
    except OSError as error:
        raise MergingError(
            f"{target}: cannot be written ({error.strerror or error}): make room or choose another folder"
        ) from error


@contextmanager
def atomic_file(target: Path) -> Iterator[IO[bytes]]:
    """A file to write, which replaces `target` at the end; several processes may do so at once, the last one wins.

    OSError as the file system raises it; `target` is unchanged then.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
        sync(target.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def move_folder(partial: Path, target: Path) -> None:
    """Rename a folder whose files are on the disk; one that has the name `target` already is removed."""
    sync(partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_data(descriptor: int) -> None:
    """Wait until an open file's bytes are on the disk, but not its times where the system can tell them apart."""
    (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(descriptor)  # macOS has no fdatasync


@contextmanager
def _only_writer(target: Path) -> Iterator[None]:
    """Hold a lock on a file next to `target`; MergingError at once if another process holds it.

    The operating system releases it when its holder dies, however it dies.
    """
    path = target.with_name(f".{target.name}.lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not _try_lock(descriptor, path):
            raise MergingError(f"{target}: another process is writing it: wait for it, or give another folder")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, path: Path) -> bool:
    """Lock an open file; whether that worked, and the file is still the one of that name.

    Where the file system has no locks, every process may write.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())  # its last holder may just have removed it
    except FileNotFoundError:
        return False

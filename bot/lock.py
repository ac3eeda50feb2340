"""One process at a time works on a home."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from bot.errors import ShoalError
from bot.home import Home


class HomeIsBusyError(ShoalError):
    """Another process holds the home's lock."""


@contextmanager
def hold(home: Home) -> Iterator[None]:
    """Hold the home while cycles run; HomeIsBusyError at once where another process does.

    The operating system lets go of the lock when its holder dies, however it dies.
    """
    home.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise HomeIsBusyError(
            f"{home.folder}: another shoal process is running a cycle here; wait for it, or choose another --home"
        ) from error
    try:
        yield
    finally:
        lock.release()

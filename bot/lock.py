"""Locks: one process at a time runs cycles in a home, and one runs its schedule."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from bot.errors import ShoalError
from bot.home import Home


class HomeIsBusyError(ShoalError):
    """Another process holds the lock."""


@contextmanager
def hold_home(home: Home, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the home while a cycle runs; raise HomeIsBusyError where another process holds it.

    on_wait: if given, called once before waiting for the other process instead.
    """
    busy = "another shoal process is using this home; wait for it, or choose another --home"
    with _hold_file(home, home.lock, busy, on_wait):
        home.progress.unlink(missing_ok=True)  # of a cycle that was killed; it would pass for what runs now
        yield


def is_home_held(home: Home) -> bool:
    """Whether a process holds the home, as far as this one can see; nothing is written."""
    return _is_held(home.lock)


def is_schedule_held(home: Home) -> bool:
    """Whether a `shoal serve` runs the home's schedule, as far as this process can see; nothing is written."""
    return _is_held(home.schedule_lock)


def _is_held(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # it is held, or the file system has no locks
        return True
    return False


@contextmanager
def hold_schedule(home: Home) -> Iterator[None]:
    """Hold the home's schedule. Two processes on one job store would run every cycle twice."""
    busy = "another `shoal serve` runs the schedule of this home; stop that one, or choose another --home"
    with _hold_file(home, home.schedule_lock, busy, None):
        yield


@contextmanager
def _hold_file(home: Home, path: Path, busy: str, on_wait: Callable[[], None] | None) -> Iterator[None]:
    """Hold the lock of one file. The operating system releases it when the process ends, however it ends."""
    lock = FileLock(path)
    try:
        home.folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        if on_wait is None:
            raise HomeIsBusyError(f"{home.folder}: {busy}") from error
        on_wait()
        lock.acquire()
    except OSError as error:
        raise ShoalError(
            f"--home: got {str(home.folder)!r}: {error.strerror}; choose a folder that you may write to"
        ) from error
    try:
        yield
    finally:
        lock.release()

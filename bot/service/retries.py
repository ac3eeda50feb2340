"""Retries: a watchlist whose cycle failed is tried again after growing pauses, and in the end at its next cron time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=5), timedelta(hours=1)
MOST_RETRIES = 6
"""Retries in a row: after 5, 10, 20, 40, 60 and 60 minutes, so that an outage of three hours is survived."""


def retry_pause(failures: int) -> timedelta | None:
    """The pause after this many failures in a row (from 1); None: no more retries."""
    if failures > MOST_RETRIES:
        return None
    return min(FIRST_PAUSE * (1 << (failures - 1)), LONGEST_PAUSE)


class Retries:
    """The watchlists, by their paths, whose cycles failed, and when each is tried again."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._failures: dict[Path, int] = {}
        self._times: dict[Path, datetime] = {}

    def begin(self, path: Path) -> None:
        """A cycle begins, whether it was due by its retry or by its cron string."""
        self._times.pop(path, None)

    def succeed(self, path: Path) -> None:
        """Its cycle ended well."""
        self._failures.pop(path, None)

    def fail(self, path: Path) -> datetime | None:
        """Its cycle failed: returns when it is tried again; None if that has been tried often enough."""
        failures = self._failures.get(path, 0) + 1
        pause = retry_pause(failures)
        if pause is None:
            self._failures.pop(path)
            return None
        self._failures[path] = failures
        self._times[path] = self._clock() + pause
        return self._times[path]

    def planned(self) -> dict[Path, datetime]:
        """When each is tried again; any thread may ask."""
        return dict(self._times)

    def hurry(self, path: Path) -> None:
        """Try it again at once, if it is to be tried again at all: its watchlist was edited."""
        if path in self._times:
            self._times[path] = self._clock()

    def take_due(self) -> tuple[Path, ...]:
        """Take those whose time has come, the longest due first."""
        now = self._clock()
        due = sorted((when, path) for path, when in self._times.items() if when <= now)
        for _, path in due:
            del self._times[path]
        return tuple(path for _, path in due)

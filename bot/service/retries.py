"""Retries: a watchlist whose cycle failed is tried again after growing pauses, and in the end at its next cron time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=5), timedelta(hours=1)
MOST_RETRIES = 6
"""Retries in a row: after 5, 10, 20, 40, 60 and 60 minutes, so that an outage of three hours is survived."""


def retry_pause(failures: int) -> timedelta | None:
    """The pause after this many failures in a row (from 1); None: no more retries."""
    if failures > MOST_RETRIES:
        return None
    return min(FIRST_PAUSE * (1 << (failures - 1)), LONGEST_PAUSE)


@dataclass(frozen=True)
class PlannedRetry:
    """A watchlist's next try. at: when that is by the clock as it was set when its cycle failed."""

    at: datetime
    reason: str


class Retries:
    """The watchlists, by their paths, whose cycles failed, and when each is tried again.

    Pauses are counted in seconds that pass, so a clock that is set makes none of them longer or shorter.
    """

    def __init__(
        self, seconds: Callable[[], float] = time.monotonic, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._seconds = seconds
        self._now = now
        self._failures: dict[Path, int] = {}
        self._times: dict[Path, float] = {}
        self._planned: dict[Path, PlannedRetry] = {}

    def planned(self) -> dict[Path, PlannedRetry]:
        """The watchlists that are to be tried again; any thread may ask."""
        times = dict(self._times)
        return {path: one for path, one in dict(self._planned).items() if path in times}

    def begin(self, path: Path) -> None:
        """A cycle begins, whether it was due by its retry or by its cron string."""
        self._times.pop(path, None)

    def succeed(self, path: Path) -> None:
        """Its cycle ended well."""
        self._failures.pop(path, None)

    def fail(self, path: Path, reason: str) -> datetime | None:
        """Its cycle failed: returns when it is tried again; None if that has been tried often enough."""
        failures = self._failures.get(path, 0) + 1
        pause = retry_pause(failures)
        if pause is None:
            self._failures.pop(path)
            return None
        self._failures[path] = failures
        self._times[path] = self._seconds() + pause.total_seconds()
        self._planned[path] = PlannedRetry(self._now() + pause, reason)
        return self._planned[path].at

    def hurry(self, path: Path) -> None:
        """Try it again at once, if it is to be tried again at all: its watchlist was edited."""
        if path in self._times:
            self._times[path] = self._seconds()

    def take_due(self) -> tuple[Path, ...]:
        """Take those whose time has come, the longest due first."""
        now = self._seconds()
        due = sorted((when, path) for path, when in self._times.items() if when <= now)
        for _, path in due:
            del self._times[path]
        return tuple(path for _, path in due)

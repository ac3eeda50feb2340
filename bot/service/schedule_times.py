"""When watchlists are due, as plain numbers that may travel: the job store itself holds pickles."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from bot.home import Home
from merging.writing.atomic import atomic_file

ScheduleTimes = Mapping[str, float | None]
"""Watchlist's name → when it is due next, in seconds since 1970; None for one that is paused."""


def stored_times(home: Home) -> ScheduleTimes:
    """The times of the home's job store; empty where there is none yet."""
    if not home.schedule.exists():
        return {}
    with closing(sqlite3.connect(f"{home.schedule.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            return dict(connection.execute("SELECT id, next_run_time FROM apscheduler_jobs").fetchall())
        except sqlite3.OperationalError:  # the schedule has only just begun
            return {}


def write_times(path: Path, times: ScheduleTimes) -> None:
    """Write times to a file."""
    with atomic_file(path) as file:
        file.write(json.dumps(dict(times), indent=1, sort_keys=True).encode())


def take_restored_times(home: Home) -> ScheduleTimes:
    """The times that were restored from a snapshot, for a job store to take over; gone after that."""
    if not home.restored_times.exists():
        return {}
    times = dict(json.loads(home.restored_times.read_bytes()))
    home.restored_times.unlink()
    return times


def missed_names(times: ScheduleTimes, now: float) -> frozenset[str]:
    """The watchlists whose time passed while nothing ran."""
    return frozenset(name for name, moment in times.items() if moment is not None and moment <= now)


def paused_names(times: ScheduleTimes) -> frozenset[str]:
    """The watchlists that are paused."""
    return frozenset(name for name, moment in times.items() if moment is None)

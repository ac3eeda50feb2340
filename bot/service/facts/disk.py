"""The room on the home's disk."""

from __future__ import annotations

import shutil

from bot.home import Home
from bot.hub.download import SPARE_BYTES


def free_bytes(home: Home) -> int:
    """Bytes that are free where the home is, or will be."""
    existing = next(path for path in (home.folder, *home.folder.parents) if path.exists())
    return shutil.disk_usage(existing).free


def describe_full_disk(home: Home) -> str | None:
    """A line that says that no cycle can work on the home's disk; None where one can."""
    free = free_bytes(home)
    if free >= SPARE_BYTES:
        return None
    return f"{home.folder}: {free:,} bytes free, where a cycle needs {SPARE_BYTES:,}; free some space (`shoal clean`)"

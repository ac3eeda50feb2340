"""Where the bot keeps things on this machine: one folder, the home, and the names inside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The bot's folder. Every path below it is named here and nowhere else."""

    folder: Path

    @property
    def ledger(self) -> Path:
        """The database of all that was measured and done."""
        return self.folder / "ledger.sqlite"

    @property
    def schedule(self) -> Path:
        """APScheduler's job store."""
        return self.folder / "schedule.sqlite"

    @property
    def lock(self) -> Path:
        """Held by the one process that runs a cycle."""
        return self.folder / "lock"

    @property
    def schedule_lock(self) -> Path:
        """Held by the one process that keeps the schedule."""
        return self.folder / "schedule.lock"

    @property
    def sources(self) -> Path:
        """Fetched checkpoints, one folder a repo and commit."""
        return self.folder / "sources"

    @property
    def answers(self) -> Path:
        """What transformers said of configs, kept for the next process."""
        return self.folder / "answers"

    def releases(self, cycle: str) -> Path:
        """The folder of a cycle's releases."""
        return self.folder / "releases" / cycle

    def release(self, cycle: str, role: str) -> Path:
        """The folder of one release: its weights, card and pictures."""
        return self.releases(cycle) / role

    def report(self, cycle: str) -> Path:
        """The page that tells how a cycle went."""
        return self.folder / "reports" / f"{cycle}.md"


def find_home(chosen: Path | None) -> Home:
    """The home that was asked for, else `SHOAL_HOME`, else `~/.shoal`."""
    folder = chosen or Path(os.environ.get("SHOAL_HOME") or Path.home() / ".shoal")
    return Home(folder.expanduser().absolute())

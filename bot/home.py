"""The home: the folder where the bot keeps its files on this machine, and the names inside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bot.errors import ShoalError


@dataclass(frozen=True)
class Home:
    """The bot's folder. Every path in it is defined here and nowhere else."""

    folder: Path

    @property
    def ledger(self) -> Path:
        """The database of cycles, scores and releases."""
        return self.folder / "ledger.sqlite"

    @property
    def schedule(self) -> Path:
        """APScheduler's job store."""
        return self.folder / "schedule.sqlite"

    @property
    def lock(self) -> Path:
        """The lock of the one process that runs a cycle."""
        return self.folder / "lock"

    @property
    def schedule_lock(self) -> Path:
        """The lock of the one process that runs the schedule."""
        return self.folder / "schedule.lock"

    @property
    def progress(self) -> Path:
        """What the running cycle is doing, for other processes; gone when it ends."""
        return self.folder / "progress.json"

    @property
    def restored_times(self) -> Path:
        """When watchlists are due, from a snapshot; gone when the schedule has taken it over."""
        return self.folder / "schedule.json"

    @property
    def state(self) -> Path:
        """Which snapshot on the Hub the ledger goes on from, where there is one."""
        return self.folder / "state.json"

    @property
    def service(self) -> Path:
        """What `shoal serve` has in hand, for other processes."""
        return self.folder / "service.json"

    @property
    def sources(self) -> Path:
        """Fetched checkpoints, one folder for each repo and commit."""
        return self.folder / "sources"

    @property
    def vocabularies(self) -> Path:
        """The rows of sources in the vocabularies of merges, one folder for each vocabulary of a pool."""
        return self.folder / "vocabularies"

    @property
    def answers(self) -> Path:
        """Cached answers of transformers about configs."""
        return self.folder / "answers"

    @property
    def notify(self) -> Path:
        """The addresses of notifications, a private file that a person writes."""
        return self.folder / "notify"

    @property
    def page_password(self) -> Path:
        """The password of the page, scrambled; a private file."""
        return self.folder / "page-password"

    @property
    def page_oauth(self) -> Path:
        """The OAuth app of the page's login, a private file that a person writes."""
        return self.folder / "page-oauth"

    @property
    def webhook_secret(self) -> Path:
        """What the Hub sends with its calls, so that nobody else can make them; a private file."""
        return self.folder / "webhook-secret"

    def releases(self, cycle: str) -> Path:
        """The folder of a cycle's releases."""
        return self.folder / "releases" / cycle

    def release(self, cycle: str, role: str) -> Path:
        """The folder of one release: its weights, card and pictures."""
        return self.releases(cycle) / role

    @property
    def reports(self) -> Path:
        """The reports of cycles."""
        return self.folder / "reports"

    def report(self, cycle: str) -> Path:
        """The report of a cycle."""
        return self.reports / f"{cycle}.md"


def find_home(chosen: Path | None) -> Home:
    """The chosen folder, else `SHOAL_HOME`, else `~/.shoal`; it need not exist. ShoalError for a file."""
    folder = (chosen or Path(os.environ.get("SHOAL_HOME") or Path.home() / ".shoal")).expanduser().absolute()
    if folder.is_file():
        raise ShoalError(f"--home: got {str(folder)!r}: is a file; choose a folder")
    return Home(folder)

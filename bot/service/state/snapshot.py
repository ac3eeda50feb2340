"""What a snapshot holds of a home, and how a home is made from one.

It holds what cannot be had again: the ledger, reports, which watchlists are paused or due, and the cards and pictures
of releases that wait for review where a person has edited them. Sources are downloaded again, the weights of those
releases are written again from their recipes, and their cards as they were written are in the ledger. Secrets
(addresses of notifications, the page's password) are never part of it, nor are pickles: of the job store it holds times
alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bot.home import Home
from bot.ledger.decisions import cycle_decisions, kept_documents
from bot.ledger.ledger import Ledger, ReleaseEntry, State
from bot.ledger.snapshot import copy_compact
from bot.release.folder import is_editable, write_missing_documents
from bot.release.review import is_waiting
from bot.release.verify import sha256_of
from bot.service.schedule_times import stored_times, write_times
from merging.writing.atomic import atomic_file

LEDGER, SCHEDULE, REPORTS, EDITS = "ledger.sqlite", "schedule.json", "reports", "edits"

LARGEST_EDIT = 10_000_000
"""Bytes of an edited file that a snapshot still takes: there is one after each stage."""


@dataclass(frozen=True)
class EditableFile:
    """A card or picture of a release that waits, as it is in the home; sha256: as it was written.

    changed: when, in nanoseconds. size: in bytes.
    """

    path: Path
    name: str
    sha256: str
    changed: int
    size: int

    @property
    def is_edited(self) -> bool:
        """Whether it is not as it was written; the file is read."""
        return self.path.is_file() and sha256_of(self.path) != self.sha256


def editable_files(home: Home) -> tuple[EditableFile, ...]:
    """The files of releases that wait which a person may edit; links that leave the release's folder are none."""
    if not home.ledger.exists():
        return ()
    with closing(Ledger(home.ledger)) as ledger:
        return tuple(file for release in _waiting_releases(ledger) for file in _editable_files(home, release))


def read_edits(home: Home) -> dict[str, str]:
    """Name in the snapshot → SHA-256 of the files that a person has edited."""
    return {file.name: sha256_of(file.path) for file in editable_files(home) if file.is_edited}


def write_snapshot(home: Home, folder: Path) -> dict[str, Path]:
    """Write a home's snapshot to a new folder; returns its files by their names in the repo."""
    folder.mkdir(parents=True)
    if home.ledger.exists():
        copy_compact(home.ledger, folder / LEDGER)
    if times := stored_times(home):
        write_times(folder / SCHEDULE, times)
    for report in sorted(home.reports.glob("*.md")):
        target = folder / REPORTS / report.name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(report, target)
    for file in editable_files(home):
        if file.size <= LARGEST_EDIT and file.is_edited:
            target = folder / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.path, target)
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


def restore_snapshot(folder: Path, home: Home) -> None:
    """Replace a home's ledger by a snapshot's, and bring what belongs to it; the caller holds the home.

    A home that has a job store already keeps it.
    """
    home.folder.mkdir(parents=True, exist_ok=True)
    for report in sorted((folder / REPORTS).glob("*.md")):
        with atomic_file(home.reports / report.name) as file:
            file.write(report.read_bytes())
    if (folder / SCHEDULE).exists() and not home.schedule.exists():
        shutil.copyfile(folder / SCHEDULE, home.restored_times)
    if (folder / LEDGER).exists():
        _replace_ledger(folder / LEDGER, home)
        _write_waiting_documents(home, folder)


def _replace_ledger(source: Path, home: Home) -> None:
    for suffix in ("-wal", "-shm"):  # they belong to the ledger that goes
        home.ledger.with_name(home.ledger.name + suffix).unlink(missing_ok=True)
    with atomic_file(home.ledger) as file, source.open("rb") as stream:
        shutil.copyfileobj(stream, file)


def _write_waiting_documents(home: Home, folder: Path) -> None:
    """Write the cards and pictures of releases that wait for review, as a reviewer left them in a snapshot.

    The ledger says which files there can be; what else is in the snapshot's folder of edits is not looked at.
    """
    with closing(Ledger(home.ledger)) as ledger:
        for release in _waiting_releases(ledger):
            documents = kept_documents(ledger, release.cycle, release.role)
            write_missing_documents(home.release(release.cycle, release.role), documents)
            for file in _editable_files(home, release):
                edit = folder / file.name
                if edit.is_file() and edit.stat().st_size <= LARGEST_EDIT:
                    with atomic_file(file.path) as stream:
                        stream.write(edit.read_bytes())


def _waiting_releases(ledger: Ledger) -> Iterator[ReleaseEntry]:
    for cycle in ledger.cycles():
        if cycle.state is State.REVIEW:
            decisions = cycle_decisions(ledger, cycle.id)
            yield from (release for release in ledger.releases(cycle.id) if is_waiting(release, decisions))


def _editable_files(home: Home, release: ReleaseEntry) -> Iterator[EditableFile]:
    folder = home.release(release.cycle, release.role).resolve()
    for name in filter(is_editable, release.files):
        path = folder / name
        if path.is_file() and path.resolve().is_relative_to(folder):
            found = path.stat()
            in_snapshot = f"{EDITS}/{release.cycle}/{release.role}/{name}"
            yield EditableFile(path, in_snapshot, release.files[name], found.st_mtime_ns, found.st_size)

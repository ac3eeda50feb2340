"""What a snapshot holds of a home, and how a home is made from one.

It holds what cannot be had again: the ledger, reports, and which watchlists are paused or due. Sources are downloaded
again, the weights of releases that wait for review are written again from their recipes, and their cards are in the
ledger. Secrets (addresses of notifications, the page's password) are never part of it, nor are pickles: of the job
store it holds times alone.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from bot.home import Home
from bot.ledger.decisions import cycle_decisions, kept_documents
from bot.ledger.ledger import Ledger, State
from bot.ledger.snapshot import copy_compact
from bot.release.folder import write_missing_documents
from bot.release.review import is_waiting
from bot.service.schedule_times import stored_times, write_times
from merging.writing.atomic import atomic_file

LEDGER, SCHEDULE, REPORTS = "ledger.sqlite", "schedule.json", "reports"


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
        _write_waiting_documents(home)


def _replace_ledger(source: Path, home: Home) -> None:
    for suffix in ("-wal", "-shm"):  # they belong to the ledger that goes
        home.ledger.with_name(home.ledger.name + suffix).unlink(missing_ok=True)
    with atomic_file(home.ledger) as file, source.open("rb") as stream:
        shutil.copyfileobj(stream, file)


def _write_waiting_documents(home: Home) -> None:
    """Write the cards and pictures of releases that wait for review, so that a reviewer can read them."""
    ledger = Ledger(home.ledger)
    try:
        for cycle in ledger.cycles():
            if cycle.state is not State.REVIEW:
                continue
            decisions = cycle_decisions(ledger, cycle.id)
            for release in ledger.releases(cycle.id):
                if is_waiting(release, decisions):
                    folder = home.release(cycle.id, release.role)
                    write_missing_documents(folder, kept_documents(ledger, cycle.id, release.role))
    finally:
        ledger.close()

"""Opens a ledger only to read it, also where nothing may be written: in a backup, or another user's home."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from bot.errors import ShoalError
from bot.ledger.database import LedgerBlocked
from bot.ledger.ledger import Ledger


class LedgerCopy(Ledger):
    """A ledger that is read from a copy of its own, which goes when it is closed or given up."""

    def __init__(self, path: Path) -> None:
        """Copy the file and open the copy; `path` stays the original's."""
        self._folder = TemporaryDirectory(prefix="shoal-ledger-")
        super().__init__(_copy_database(path, Path(self._folder.name) / path.name))
        self.path = path

    def close(self) -> None:
        """Close the file and remove the copy."""
        super().close()
        self._folder.cleanup()


def open_to_read(path: Path) -> Ledger:
    """The ledger itself where it can be written (SQLite writes beside it even to read), else a copy, as on a full disk.

    Raises:
        ShoalError: it cannot be read, or is not a ledger.
    """
    effective = os.access in os.supports_effective_ids
    writable = (os.access(one, os.W_OK, effective_ids=effective) for one in (path, path.parent))
    if all(writable):
        with suppress(LedgerBlocked):
            return Ledger(path)
    return LedgerCopy(path)


def _copy_database(path: Path, target: Path) -> Path:
    """Copy a database with what its log holds."""
    try:
        with (
            closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
    except sqlite3.Error:
        # SQLite needs the index of the log. Where there is none and none can be made, nobody else has the database
        # open, and its files can be copied as they are.
        try:
            for suffix in ("", "-wal"):
                if path.with_name(path.name + suffix).exists():
                    shutil.copyfile(path.with_name(path.name + suffix), target.with_name(target.name + suffix))
        except OSError as error:
            raise ShoalError(f"{path}: cannot be read ({error.strerror}); check the file's rights") from error
    return target

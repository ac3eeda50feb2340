"""A copy of the ledger that another machine can go on from, and a mark that tells whether there is anything new."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bot.errors import ShoalError

_MILESTONES = (
    "SELECT id, state, finished FROM cycles ORDER BY id",
    "SELECT cycle, stage, length(value) FROM stages WHERE stage NOT LIKE 'asked %' ORDER BY cycle, stage",
    'SELECT cycle, role, recipe, files, "commit" FROM releases ORDER BY cycle, role',
    "SELECT max(id) FROM decisions",
    "SELECT id, state FROM requests ORDER BY id",
    "SELECT cycle, role, number, settled, closed FROM pull_requests ORDER BY cycle, role",
    "SELECT id, state FROM run_requests ORDER BY id",
    "SELECT watchlist, last, newest_cycle FROM webhook_wakes ORDER BY watchlist",
)
"""What a person would miss: cycles, their stages, releases, decisions, and what is to be run; scores, and what a search
asks for, come too often to be listed, and so do calls of the Hub that wake nothing: told again, they wake nothing
again."""


@dataclass(frozen=True)
class LedgerMark:
    """How far a ledger has come. milestones: a digest of all that is saved at once.

    evaluations: number of scored (recipe, evaluation set) pairs.
    """

    milestones: str
    evaluations: int


EMPTY_MARK = LedgerMark("", 0)


def read_mark(path: Path) -> LedgerMark:
    """How far a ledger of today's schema has come; EMPTY_MARK where there is none yet."""
    if not path.exists():
        return EMPTY_MARK
    with _reading(path) as connection:
        rows = [connection.execute(query).fetchall() for query in _MILESTONES]
        (evaluations,) = connection.execute("SELECT count(*) FROM evaluations").fetchone()
    return LedgerMark(hashlib.sha256(json.dumps(rows).encode()).hexdigest(), evaluations)


def copy_compact(path: Path, target: Path) -> None:
    """Write the ledger as it is at this moment to one new file without gaps, while others read and write it."""
    target.unlink(missing_ok=True)
    with _reading(path) as connection:
        connection.execute("VACUUM INTO ?", (str(target),))


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise ShoalError(
            f"{path}: the ledger cannot be copied ({error}); check the folder's rights and the disk"
        ) from error

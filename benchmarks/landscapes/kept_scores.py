"""Item results on disk, so that searches, commands and processes share what one of them has computed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WAIT_S = 60
"""Most seconds that a process waits while another one writes."""


class KeptScores:
    """Right or wrong for every item, by the digest of the evaluation set and that of the recipe."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(file, timeout=WAIT_S, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")  # what a crash loses is computed again
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS answers (eval_set TEXT, recipe TEXT, items INTEGER, bits BLOB, "
            "PRIMARY KEY (eval_set, recipe)) WITHOUT ROWID"
        )

    def find(self, eval_set: str, recipe: str) -> NDArray[np.bool_] | None:
        """The results that are kept; None if there are none."""
        row = self._database.execute(
            "SELECT items, bits FROM answers WHERE eval_set = ? AND recipe = ?", (eval_set, recipe)
        ).fetchone()
        if row is None:
            return None
        return np.unpackbits(np.frombuffer(row[1], dtype=np.uint8), count=row[0]).astype(bool)

    def keep(self, eval_set: str, recipe: str, answers: NDArray[np.bool_]) -> None:
        """Keep results."""
        self._database.execute(
            "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)",
            (eval_set, recipe, len(answers), np.packbits(answers).tobytes()),
        )

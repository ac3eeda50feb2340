"""The ledger's file: opened, created or brought up to date."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from sqlite3 import Connection as SqliteConnection

from filelock import FileLock
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.schema import CreateIndex, CreateTable

from bot.errors import ShoalError
from bot.ledger.migration import UnknownSchemaError, migrate_schema
from bot.ledger.tables import Table

BUSY_SECONDS = 30
"""Seconds that a write waits for another process's write to end."""

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PRIMARY_CODE = 0xFF
"""The bits of SQLite's extended error codes that say what kind of error it is."""


class LedgerBlocked(ShoalError):  # noqa: N818 - named after the finding
    """The disk, the rights or another process keep the ledger from being opened."""


def open_database(path: Path) -> Engine:
    """Open the ledger's file in WAL mode, so that `status` reads while a cycle writes; a new file gets its tables.

    Raises:
        ShoalError: it cannot be opened, is not a ledger, or is of a schema that this program cannot use.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = _create_engine(path)
    try:
        # SQLite turns a new file to WAL for one connection alone, and reports to all others that it is locked.
        with FileLock(path.with_name(f"{path.name}.opening"), timeout=BUSY_SECONDS), engine.begin() as connection:
            # Explicit, because the driver begins a transaction only before it changes rows, not before it changes
            # tables: a migration that fails halfway must leave the file as it was.
            connection.exec_driver_sql("BEGIN")
            migrate_schema(connection)
            _create_tables(connection)
    except UnknownSchemaError as error:
        raise ShoalError(f"{path}: {error}") from error
    except OperationalError as error:
        raise LedgerBlocked(
            f"{path}: the ledger cannot be opened ({error.orig}); check the folder's rights and the disk"
        ) from error
    except DatabaseError as error:
        raise ShoalError(f"{path}: not a ledger ({error.orig}); move the file away or choose another --home") from error
    _explain_errors(engine, path, "ledger")
    return engine


def open_plain(path: Path, name: str) -> Engine:
    """Another SQLite file, for a library that makes its tables itself; `name` says what it is in errors, as above."""
    engine = create_engine(f"sqlite:///{path}")
    _explain_errors(engine, path, name)
    return engine


def _explain_errors(engine: Engine, path: Path, name: str) -> None:
    """From now on, raise a ShoalError of one line where SQLite cannot use the file, and its own error elsewhere.

    name: what the file is.
    """

    @event.listens_for(engine, "handle_error")
    def _explain(context: ExceptionContext) -> ShoalError | None:
        error = context.original_exception
        if not isinstance(error, sqlite3.DatabaseError):
            return None
        if getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE in _DAMAGED:
            return ShoalError(f"{path}: the {name} is damaged ({error}); put a backup in its place, or move it away")
        if not isinstance(error, sqlite3.OperationalError):
            return None
        return ShoalError(
            f"{path}: the {name} cannot be used ({error}); nothing was lost: "
            "make room or end the other process, then run it again"
        )


def _create_engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _set_pragmas(connection: SqliteConnection, _record: object) -> None:
        cursor = connection.cursor()
        # FULL: a commit is on the disk before it is reported. With NORMAL a power cut loses every commit since the last
        # checkpoint of the log: about a hundred scored candidates.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def _create_tables(connection: Connection) -> None:
    # Not create_all: it looks first, and then fails if another process was quicker.
    for table in Table.metadata.sorted_tables:
        connection.execute(CreateTable(table, if_not_exists=True))
        for index in table.indexes:
            connection.execute(CreateIndex(index, if_not_exists=True))

"""Brings older ledgers up to the present schema.

`PRAGMA user_version` holds the version of a file's schema. It changes when a table does, or the JSON of a kept stage
result, or the values of a column that older programs check; a table that is merely new needs no migration.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import Connection

Migration = Callable[[Connection], None]


class UnknownSchemaError(Exception):
    """The file has no schema that this program can use; the message says why, and is to follow the file's name."""


def migrate_schema(connection: Connection) -> None:
    """Bring a database up to `SCHEMA_VERSION`, within the caller's transaction. A database without tables is new.

    Raises:
        UnknownSchemaError: it is newer than this program, or not a ledger.
    """
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version > SCHEMA_VERSION:
        raise UnknownSchemaError(
            f"a newer shoal wrote it (schema {version}, this one knows up to {SCHEMA_VERSION}): upgrade shoal, or "
            "choose another --home"
        )
    if version == SCHEMA_VERSION:
        return
    is_new = not connection.exec_driver_sql("SELECT count(*) FROM sqlite_master WHERE type = 'table'").scalar_one()
    for migrate in () if is_new else MIGRATIONS[version:]:
        try:
            migrate(connection)
        except (KeyError, TypeError, ValueError) as error:
            raise UnknownSchemaError(
                f"an older shoal's ledger that cannot be brought up to date ({type(error).__name__}: {error}): read it "
                "with the shoal that wrote it, or choose another --home"
            ) from error
    connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _add_schema_version(connection: Connection) -> None:
    """From ledgers without a version (shoal 0.1.0): new names, and nothing to resume.

    Recipes and scores stay, but the digests that they are stored under cover more than they did, so none is found
    again.
    """
    columns = {row[1] for row in connection.exec_driver_sql("PRAGMA table_info(evaluations)")}
    if "exam" not in columns:
        raise ValueError("its table of evaluations has no column `exam`")
    connection.exec_driver_sql("ALTER TABLE evaluations RENAME COLUMN exam TO eval_set")
    for cycle, text in connection.exec_driver_sql("SELECT cycle, value FROM stages WHERE stage = 'gate'").all():
        results = json.loads(text)
        for comparison in (one for result in results for one in result["comparisons"]):
            comparison["baseline"] = comparison.pop("rival")
        update = "UPDATE stages SET value = ? WHERE cycle = ? AND stage = 'gate'"
        connection.exec_driver_sql(update, (json.dumps(results), cycle))
    connection.exec_driver_sql("UPDATE stages SET stage = 'eval_sets' WHERE stage = 'exams'")
    # The search would start over anyway, without its scores, and the kept pool has another form.
    connection.exec_driver_sql("DELETE FROM stages WHERE stage = 'pool'")
    connection.exec_driver_sql(
        "UPDATE cycles SET state = 'abandoned', note = ?, finished = ? WHERE state = 'running'",
        ("shoal was upgraded before the cycle was done", datetime.now(UTC).isoformat()),
    )


def _add_states(_: Connection) -> None:
    """From shoal 0.2.0: cycles may have states that it cannot read. The tables are the same."""


def _add_request_states(_: Connection) -> None:
    """From ledgers before requests could be withdrawn: they may have states that older programs cannot read."""


def _add_offered_recipes(connection: Connection) -> None:
    """From ledgers before a pull request named the recipe that it offers."""
    if connection.exec_driver_sql("PRAGMA table_info(pull_requests)").first() is None:
        return
    connection.exec_driver_sql("ALTER TABLE pull_requests ADD COLUMN recipe VARCHAR NOT NULL DEFAULT ''")
    offered = "releases.cycle = pull_requests.cycle AND releases.role = pull_requests.role"
    connection.exec_driver_sql(
        f"UPDATE pull_requests SET recipe = coalesce((SELECT recipe FROM releases WHERE {offered}), '')"
    )


def _add_ticks(connection: Connection) -> None:
    """From ledgers before a request named the edits that it is about: what still waits has to be ticked anew."""
    if connection.exec_driver_sql("PRAGMA table_info(requests)").first() is None:
        return
    connection.exec_driver_sql("ALTER TABLE requests ADD COLUMN edits VARCHAR NOT NULL DEFAULT ''")
    connection.exec_driver_sql("ALTER TABLE requests ADD COLUMN over_changes BOOLEAN NOT NULL DEFAULT 0")
    connection.exec_driver_sql("ALTER TABLE requests DROP COLUMN edited")


def _add_closings(connection: Connection) -> None:
    """From ledgers before it was looked up whether closed pull requests were opened again; of theirs nothing more is.

    Decisions may say `reopened`, which older programs cannot read.
    """
    if connection.exec_driver_sql("PRAGMA table_info(pull_requests)").first() is not None:
        connection.exec_driver_sql("ALTER TABLE pull_requests ADD COLUMN closed VARCHAR")


def _add_sketches(connection: Connection) -> None:
    """From ledgers before pictures were compared over whole sets: no score of theirs is used again for pictures."""
    connection.exec_driver_sql("ALTER TABLE item_scores ADD COLUMN sketch VARCHAR")


def _name_files_with_repos(connection: Connection) -> None:
    """From ledgers before watchlists named a file with its repo, and pools said that a file that is meant is a LoRA."""
    renamed = """UPDATE stages SET value = replace(value, '"adapter_file":', '"lora_file":')"""
    connection.exec_driver_sql(f"{renamed} WHERE stage IN ('family', 'pool')")
    for cycle, text in connection.exec_driver_sql("SELECT cycle, value FROM stages WHERE stage = 'watchlist'").all():
        watchlist = json.loads(text)
        last_stage = watchlist["search"].get("last_stage")
        if last_stage and "file" in last_stage:
            last_stage["adapter"]["file"] = last_stage.pop("file")
            update = "UPDATE stages SET value = ? WHERE cycle = ? AND stage = 'watchlist'"
            connection.exec_driver_sql(update, (json.dumps(watchlist), cycle))


MIGRATIONS: tuple[Migration, ...] = (
    _add_schema_version,
    _add_states,
    _add_request_states,
    _add_offered_recipes,
    _add_ticks,
    _add_closings,
    _add_sketches,
    _name_files_with_repos,
)
"""MIGRATIONS[n] turns schema n into n + 1."""

SCHEMA_VERSION = len(MIGRATIONS)

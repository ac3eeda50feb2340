"""The records of Jobs and scheduled Jobs, one file each. No HTTP here.

Of a Job's secrets only the hashes are kept, by which a test can tell that they arrived.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pydantic import JsonValue, TypeAdapter

from localhub.errors import HubError
from localhub.shelves.space_settings import hash_secret
from localhub.store.disk import read_json, write_json
from localhub.store.store import Store

RecordKind = Literal["jobs", "scheduled-jobs"]

HARDWARE: Mapping[str, tuple[str, int]] = {
    "cpu-basic": ("CPU Basic", 167),
    "cpu-upgrade": ("CPU Upgrade", 500),
    "a10g-small": ("Nvidia A10G - small", 16_667),
}
"""Some hardware for Jobs → its name for people, and its price in millionths of a dollar a minute."""


@dataclass(frozen=True)
class JobRecord:
    """A Job, or a scheduled one.

    spec: what was asked for, with the secrets' hashes in place of their values. schedule: a cron expression; None for a
    Job that runs once. stage: a Job's own state. last: the id of the Job that a scheduled one started last.
    """

    id: str
    namespace: str
    created_at: str
    spec: dict[str, JsonValue]
    schedule: str | None = None
    suspend: bool = False
    concurrency: bool = False
    stage: str = "SCHEDULING"
    last: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)

    def has_label(self, label: str) -> bool:
        """Whether it has a label, `key=value`."""
        key, _, value = label.partition("=")
        labels = self.spec.get("labels")
        return isinstance(labels, dict) and labels.get(key) == value


_RECORD = TypeAdapter(JobRecord)


class JobRecords:
    """The records of one kind in a Hub's folder."""

    def __init__(self, store: Store, kind: RecordKind) -> None:
        self._store = store
        self._folder = store.root / kind

    def add(self, namespace: str, spec: Mapping[str, JsonValue], **further: str | bool | None) -> JobRecord:
        """Keep a new record; `further` as in JobRecord."""
        given = spec.get("secrets")
        hashes = {name: hash_secret(str(value)) for name, value in _items(given)}
        kept = {name: value for name, value in spec.items() if name != "secrets"}
        record = JobRecord(secrets.token_hex(12), namespace, self._store.now(), kept, secrets=hashes)
        record = replace(record, **further)  # type: ignore[arg-type]  # the routes give what the fields are
        self.write(record)
        return record

    def write(self, record: JobRecord) -> None:
        """Keep a record as it is now."""
        write_json(self._path(record.namespace, record.id), record)

    def get(self, namespace: str, id: str) -> JobRecord:
        """One record; a 404 if there is none."""
        found = read_json(self._path(namespace, id), _RECORD) if id.isalnum() else None
        if found is None:
            raise HubError(404, f"Job not found: {namespace}/{id[:80]}")
        return found

    def list(self, namespace: str) -> list[JobRecord]:
        """The records of a namespace, the newest first."""
        found = [read_json(path, _RECORD) for path in (self._folder / namespace).glob("*.json")]
        return sorted((one for one in found if one), key=lambda one: one.created_at, reverse=True)

    def delete(self, record: JobRecord) -> None:
        """Delete a record."""
        self._path(record.namespace, record.id).unlink(missing_ok=True)

    def _path(self, namespace: str, id: str) -> Path:
        return self._folder / namespace / f"{id}.json"


def _items(value: JsonValue) -> list[tuple[str, JsonValue]]:
    return list(value.items()) if isinstance(value, dict) else []

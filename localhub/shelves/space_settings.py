"""What a Space has besides its files: its SDK, its hardware, its variables and the names of its secrets.

The local Hub runs no Space, so it keeps of a secret only the hash, by which a test can tell that it arrived.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from pydantic import TypeAdapter

from localhub.protocol.json_views import JsonObject
from localhub.store.disk import read_json, write_json
from localhub.store.repo import Repo

FREE_HARDWARE = "cpu-basic"


@dataclass(frozen=True)
class SpaceSettings:
    """The settings of a Space. secrets: name → SHA-256 of the value. sleep_seconds: None for the Hub's default."""

    sdk: str
    hardware: str = FREE_HARDWARE
    sleep_seconds: int | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)

    def with_secret(self, name: str, value: str) -> SpaceSettings:
        """The settings with one secret more, or another value of it."""
        return replace(self, secrets={**self.secrets, name: hash_secret(value)})

    def with_variable(self, name: str, value: str) -> SpaceSettings:
        """The settings with one variable more, or another value of it."""
        return replace(self, variables={**self.variables, name: value})


_SETTINGS = TypeAdapter(SpaceSettings)


def hash_secret(value: str) -> str:
    """What is kept of a secret's value."""
    return hashlib.sha256(value.encode()).hexdigest()


def read_space_settings(repo: Repo) -> SpaceSettings:
    """The settings of a Space."""
    return read_json(repo.folder / "space.json", _SETTINGS) or SpaceSettings("docker")


def change_space_settings(repo: Repo, change: Callable[[SpaceSettings], SpaceSettings]) -> SpaceSettings:
    """Replace the settings by what `change` makes of them, under the repo's lock; returns the new ones."""
    with repo.lock():
        settings = change(read_space_settings(repo))
        write_json(repo.folder / "space.json", settings)
    return settings


def describe_runtime(settings: SpaceSettings) -> JsonObject:
    """The state of a Space as the API shows it: the local Hub builds and runs none."""
    return {
        "stage": "STOPPED",
        "hardware": {"current": None, "requested": settings.hardware},
        "storage": None,
        "gcTimeout": settings.sleep_seconds,
    }

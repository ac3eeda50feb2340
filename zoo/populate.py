"""Puts everything on the demo's Hub: the zoo's three models and the decoys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from zoo.decoys import decoys
from zoo.repo import BASE, LANGUAGE, MATH, HubRepo, shipped


class Publish(Protocol):
    """Creates one repo with these files in one commit; `created` is an ISO 8601 time in UTC."""

    def __call__(
        self,
        repo: str,
        files: Mapping[str, bytes | Path],
        *,
        gated: bool = False,
        downloads: int,
        likes: int,
        created: str,
    ) -> object: ...


def models() -> tuple[HubRepo, ...]:
    """The base and the two specialists."""
    return (
        HubRepo(BASE, shipped(BASE), created="2026-06-01T08:00:00.000Z", downloads=4210, likes=57),
        HubRepo(MATH, shipped(MATH), created="2026-07-06T08:00:00.000Z", downloads=1873, likes=31),
        HubRepo(LANGUAGE, shipped(LANGUAGE), created="2026-07-20T08:00:00.000Z", downloads=1642, likes=28),
    )


def populate(publish: Publish) -> None:
    """Pass every repo to `publish`, the zoo's own models first."""
    publish_all(publish, (*models(), *decoys()))


def publish_all(publish: Publish, repos: Iterable[HubRepo]) -> None:
    """Pass repos to `publish`, one by one."""
    for repo in repos:
        publish(
            repo.name,
            repo.files,
            gated=repo.gated,
            downloads=repo.downloads,
            likes=repo.likes,
            created=repo.created,
        )

"""Puts the models that draw on their demo's Hub: the base, the specialists and the decoys."""

from __future__ import annotations

from zoo.pictures.decoys import picture_decoys
from zoo.pictures.repo import BASE, LANGUAGE, PAPERCUT, shipped
from zoo.populate import Publish, publish_all
from zoo.repo import HubRepo


def picture_models() -> tuple[HubRepo, ...]:
    """The base, the specialist for a style and the one for a second language."""
    return (
        HubRepo(BASE, shipped(BASE), created="2026-06-01T08:00:00.000Z", downloads=5120, likes=83),
        HubRepo(PAPERCUT, shipped(PAPERCUT), created="2026-07-13T08:00:00.000Z", downloads=2917, likes=64),
        HubRepo(LANGUAGE, shipped(LANGUAGE), created="2026-07-20T08:00:00.000Z", downloads=1688, likes=29),
    )


def populate_pictures(publish: Publish) -> None:
    """Pass every repo to `publish`, the models worth merging first."""
    publish_all(publish, (*picture_models(), *picture_decoys()))

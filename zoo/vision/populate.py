"""Puts the models that see on their demo's Hub: the text base, the specialists and the decoys."""

from __future__ import annotations

from zoo.populate import Publish, publish_all
from zoo.repo import HubRepo
from zoo.vision.decoys import sight_decoys
from zoo.vision.repo import BASE, EYE, LANGUAGE, shipped


def sight_models() -> tuple[HubRepo, ...]:
    """The text base, the specialist for a second language and the one for pictures."""
    return (
        HubRepo(BASE, shipped(BASE), created="2026-06-01T08:00:00.000Z", downloads=3980, likes=49),
        HubRepo(LANGUAGE, shipped(LANGUAGE), created="2026-07-20T08:00:00.000Z", downloads=1571, likes=26),
        HubRepo(EYE, shipped(EYE), created="2026-08-03T08:00:00.000Z", downloads=2204, likes=41),
    )


def populate_sight(publish: Publish) -> None:
    """Pass every repo to `publish`, the models worth merging first."""
    publish_all(publish, (*sight_models(), *sight_decoys()))

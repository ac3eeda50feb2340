"""A repo of the demo's Hub as a value: its files and its facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEMO_TAG = "shoal-zoo"
"""The tag on every card of the zoo, by which the demo's watchlist finds them."""

WEIGHTS = Path(__file__).parent / "weights"
BASE, MATH, LANGUAGE = "tidepool/minnow-base", "abacus-works/minnow-math", "kotoba-lab/minnow-kotoba"
MODELS = {BASE: WEIGHTS / "base", MATH: WEIGHTS / "math", LANGUAGE: WEIGHTS / "language"}


@dataclass(frozen=True)
class HubRepo:
    """A repo to publish. `files` by path in the repo; `created` is an ISO 8601 moment in UTC.

    `refused_for` is the reason why it must not be merged; None for the zoo's own models.
    """

    name: str
    files: Mapping[str, bytes | Path] = field(repr=False)
    created: str
    downloads: int
    likes: int
    gated: bool = False
    refused_for: str | None = None


def shipped(repo: str) -> dict[str, bytes | Path]:
    """The files of one of the zoo's three models."""
    return {path.name: path for path in sorted(MODELS[repo].iterdir())}

"""The repos of the models that see, and of the text models around them."""

from __future__ import annotations

from pathlib import Path

SIGHT_TAG = "shoal-zoo-vision"
"""The tag on every card, by which the watchlist finds them."""

WEIGHTS = Path(__file__).parent / "weights"
BASE, LANGUAGE, EYE = "tidepool/sprat-base", "kotoba-lab/sprat-kotoba", "lookout-works/sprat-eye"
MODELS = {BASE: WEIGHTS / "base", LANGUAGE: WEIGHTS / "language", EYE: WEIGHTS / "eye"}


def shipped(repo: str) -> dict[str, bytes | Path]:
    """The files of one of the models."""
    return {path.name: path for path in sorted(MODELS[repo].iterdir())}

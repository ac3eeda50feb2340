"""The repos of the models that draw."""

from __future__ import annotations

from pathlib import Path

PICTURE_TAG = "shoal-zoo-image"
"""The tag on every card, by which the watchlist finds them."""

WEIGHTS = Path(__file__).parent / "weights"
BASE, PAPERCUT, LANGUAGE = "tidepool/tetra-base", "paper-moon/tetra-papercut", "kotoba-lab/tetra-kotoba"
MODELS = {BASE: WEIGHTS / "base", PAPERCUT: WEIGHTS / "papercut", LANGUAGE: WEIGHTS / "language"}


def shipped(repo: str) -> dict[str, bytes | Path]:
    """The files of one of the models, by their paths in the repo."""
    folder = MODELS[repo]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in files}

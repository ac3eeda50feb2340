"""Verifies that a release's files are those that were scored, by their scores and their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from bot.errors import ShoalError
from bot.ledger.ledger import ReleaseEntry
from bot.scoring.cached import CachedEvaluator
from bot.scoring.evaluator import Evaluation, Failure, own_drawing
from bot.search.selection import Chosen
from evaluation.splits import Split


def verify_scores(evaluator: CachedEvaluator, folder: Path, validated: Evaluation) -> str | None:
    """Load a written checkpoint and score it again on the validation split.

    Returns the reason why it does not reproduce its recipe's scores, or None if every item agrees.
    """
    again = evaluator.evaluate_folder(folder, Split.VALIDATION, own_drawing(validated.recipe))
    if isinstance(again, Failure):
        return f"the written checkpoint could not be scored: {again.reason}"
    changed = sum(one.value != two.value for one, two in zip(validated.scores, again, strict=True))
    if changed:
        return f"the written checkpoint scores {changed} of {len(again)} validation items differently"
    return None


def is_finished(releases: Iterable[ReleaseEntry], chosen: Chosen, repo: str, folder: Path) -> bool:
    """Whether the ledger has this release for this repo, and its folder still holds exactly those files.

    Such a folder is left alone: a card written again would describe another run, and would be published again.
    """
    entries = [entry for entry in releases if is_recorded([entry], chosen, repo)]
    return any(folder.is_dir() and hash_files(folder) == dict(entry.files) for entry in entries)


def is_recorded(releases: Iterable[ReleaseEntry], chosen: Chosen, repo: str) -> bool:
    """Whether the ledger has this release for this repo."""
    return any((one.role, one.recipe, one.repo) == (chosen.role, chosen.recipe, repo) for one in releases)


def hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a release, by its path in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise ShoalError(f"{folder}: holds no files; run the cycle again to write the release")
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Raise a ShoalError that names the first file of a release that is missing or differs from its SHA-256."""
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise ShoalError(f"{path}: the release's file is gone; `shoal publish` writes it again")
        if sha256_of(path) != expected:
            raise ShoalError(
                f"{path}: changed since it was checked (its SHA-256 is not the ledger's), and only checked bytes are "
                "published; delete the file, then `shoal publish` writes it again"
            )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

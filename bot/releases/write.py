"""A chosen recipe as a folder on this machine: written, read back as a user would, and hashed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

from bot.errors import ShoalError
from bot.ledger.book import ReleaseEntry
from bot.releases.publish import sha256_of
from bot.scoring.judge import Judge, Sat
from bot.scoring.workers import Failure
from evaluation.splits import Split
from merging.checkpoint import Checkpoint
from merging.recipe import Recipe, SourceRef
from merging.release import RECIPE_NAME, write_release

__all__ = ["RECIPE_NAME", "confirm", "hashes", "is_finished", "packages", "write"]

PROVENANCE = "shoal.json"
PACKAGES = ("shoal", "torch", "transformers", "safetensors", "lm_eval", "pymoo", "huggingface_hub")
"""What a release's weights and scores depend on, besides the sources."""

LICENCE_FILES = ("LICENSE*", "LICENCE*", "NOTICE*")
"""Passed on with every release: permissive licences ask for it too."""


def write(recipe: Recipe, folders: Mapping[SourceRef, Path], skeleton: SourceRef, target: Path, cycle: str) -> None:
    """Write the merged checkpoint with its recipe and provenance; one that is there already is kept.

    A folder appears whole or not at all, so one with this recipe's provenance is complete.
    """
    if target.exists():
        if _digest_in(target) == recipe.digest:
            return
        shutil.rmtree(target)
    checkpoints = {source: Checkpoint.open(folders[source]) for source in recipe.origins}
    documents = {PROVENANCE: provenance(recipe, cycle), **licence_texts(recipe, folders)}
    write_release(recipe, checkpoints, target, documents, skeleton=folders[skeleton])


def provenance(recipe: Recipe, cycle: str) -> str:
    """shoal's own record of a release: what to merge, exactly, and with what it was done."""
    record = {
        "shoal": 1,
        "cycle": cycle,
        "recipe_digest": recipe.digest,
        "recipe": recipe.to_json(),
        "packages": dict(packages()),
    }
    return json.dumps(record, indent=2, sort_keys=True) + "\n"


def licence_texts(recipe: Recipe, folders: Mapping[SourceRef, Path]) -> dict[str, str]:
    """The licence and notice files of everything merged, each under a name that tells whose it is."""
    found = {}
    for source in recipe.origins:
        for pattern in LICENCE_FILES:
            for path in sorted(folders[source].glob(pattern)):
                name = f"{path.stem}-{source.repo.replace('/', '--')}{path.suffix}"
                found[name] = path.read_text(encoding="utf-8", errors="replace")
    return found


def packages() -> tuple[tuple[str, str], ...]:
    """Installed versions of what weights and scores depend on."""
    return tuple((name, version(name)) for name in PACKAGES)


def confirm(judge: Judge, target: Path, sat: Sat) -> str | None:
    """Why the written folder does not reproduce its recipe's validation scores; None if every item agrees."""
    again = judge.sit_folder(target, Split.VALIDATION)
    if isinstance(again, Failure):
        return f"the written checkpoint could not be scored: {again.reason}"
    changed = sum(one.value != two.value for one, two in zip(sat.scores, again, strict=True))
    if changed:
        return f"the written checkpoint scores {changed} of {len(again)} validation items differently"
    return None


def is_finished(recorded: Iterable[ReleaseEntry], role: str, recipe: str, folder: Path) -> bool:
    """Whether a release is on record and lies there as recorded.

    Such a one stays as it is, for it may be on the Hub already: a card written anew after an interruption could
    tell of another machine or another port, and would be a second release.
    """
    return any(
        entry.role == role and entry.recipe == recipe and dict(entry.files) == hashes(folder) for entry in recorded
    )


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a release, by name."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    if not files:
        raise ShoalError(f"{folder}: holds no files; run the cycle again to write the release")
    return {path.name: sha256_of(path) for path in files}


def _digest_in(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / PROVENANCE).read_text())["recipe_digest"])
    except (OSError, ValueError, KeyError):
        return None

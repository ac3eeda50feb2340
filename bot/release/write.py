"""A chosen recipe as a folder on this machine: written, read back as a user would, and hashed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

from bot.errors import ShoalError
from bot.hub.licences import licence_files
from bot.ledger.ledger import ReleaseEntry
from bot.release.publish import PROVENANCE, sha256_of
from bot.scoring.cached import CachedEvaluator, Evaluation
from bot.scoring.process_pool import Failure
from bot.search.selection import Chosen
from evaluation.splits import Split
from merging.recipes.path import Recipe
from merging.recipes.weight_merge import ModelId
from merging.sources.checkpoint import Checkpoint
from merging.writing.release import RECIPE_NAME, write_release

__all__ = ["RECIPE_NAME", "confirm", "hashes", "is_finished", "packages", "write"]

PACKAGES = ("shoal", "torch", "transformers", "safetensors", "lm_eval", "pymoo", "huggingface_hub")
"""What a release's weights and scores depend on, besides the sources."""


def write(recipe: Recipe, folders: Mapping[ModelId, Path], config_source: ModelId, target: Path, cycle: str) -> None:
    """Write the merged checkpoint with its recipe and provenance; one that is there already is kept.

    A folder appears whole or not at all, so one with this recipe's provenance is complete.
    """
    if target.exists():
        if _digest_in(target) == recipe.digest:
            return
        shutil.rmtree(target)
    checkpoints = {source: Checkpoint.open(folders[source]) for source in recipe.origins}
    documents = {PROVENANCE: provenance(recipe, cycle).encode(), **licence_texts(recipe, folders)}
    write_release(recipe, checkpoints, target, documents, config_source=folders[config_source])


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


def licence_texts(recipe: Recipe, folders: Mapping[ModelId, Path]) -> dict[str, bytes]:
    """The licence and notice files of everything merged, each under a name that tells whose it is."""
    return licence_files({source.repo: folders[source] for source in recipe.origins})


def packages() -> tuple[tuple[str, str], ...]:
    """Installed versions of what weights and scores depend on."""
    return tuple((name, version(name)) for name in PACKAGES)


def confirm(evaluator: CachedEvaluator, target: Path, sat: Evaluation) -> str | None:
    """Why the written folder does not reproduce its recipe's validation scores; None if every item agrees."""
    again = evaluator.evaluate_folder(target, Split.VALIDATION)
    if isinstance(again, Failure):
        return f"the written checkpoint could not be scored: {again.reason}"
    changed = sum(one.value != two.value for one, two in zip(sat.scores, again, strict=True))
    if changed:
        return f"the written checkpoint scores {changed} of {len(again)} validation items differently"
    return None


def is_finished(releases: Iterable[ReleaseEntry], chosen: Chosen, repo: str, folder: Path) -> bool:
    """Whether the ledger has this release for this repo, and its folder still holds those very files.

    Such a folder is left as it is: a card written again would tell of another run, and be published again.
    """
    entries = [
        entry for entry in releases if (entry.role, entry.recipe, entry.repo) == (chosen.role, chosen.recipe, repo)
    ]
    return any(folder.is_dir() and hashes(folder) == dict(entry.files) for entry in entries)


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

"""Writes a chosen recipe as a folder: the checkpoint, its recipe, its provenance and the sources' licences."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from bot.hub.licences import collect_licence_files
from bot.hub.resolver import open_sources
from bot.release.publish import PROVENANCE
from bot.version import shoal_version
from merging.identity import ModelId
from merging.kinds import kind_of
from merging.kinds.kind import ModelKind
from merging.kinds.picture_size import with_picture_size
from merging.recipes.recipe import Recipe
from merging.sources.model_config import read_model_config
from merging.writing.release import write_release

_LOADING, _SEARCHING = ("torch", "transformers", "safetensors"), ("pymoo", "huggingface_hub")


def write_release_folder(
    recipe: Recipe,
    folders: Mapping[ModelId, Path],
    config_source: ModelId,
    target: Path,
    cycle: str,
    picture_size: int | None = None,
) -> None:
    """Write the merged checkpoint with its recipe and provenance; a complete folder of this recipe is kept.

    folders: the sources' folders, as `fetch_pool` gives them.
    config_source: the source whose config and tokenizer the merge gets.
    picture_size: size to which the merge's processor scales pictures; None for that of the config source.
    """
    if target.exists():
        # A folder appears whole or not at all, so one that holds this recipe's provenance is complete.
        if _written_digest(target) == recipe.digest:
            return
        shutil.rmtree(target)
    checkpoints = open_sources(recipe.origins, folders, folders[config_source])
    kind = kind_of(read_model_config(folders[config_source]))
    provenance = render_provenance(recipe, config_source, cycle, kind, picture_size)
    documents = {PROVENANCE: provenance.encode(), **source_licences(recipe, config_source, folders)}
    with with_picture_size(folders[config_source], picture_size) as settings:
        write_release(recipe, checkpoints, target, documents, config_source=settings)


def render_provenance(
    recipe: Recipe, config_source: ModelId, cycle: str, kind: ModelKind, picture_size: int | None = None
) -> str:
    """The text of shoal.json: the exact recipe, whose config it has, and the versions that made the release."""
    record = {
        "shoal": 1,
        "cycle": cycle,
        "recipe_digest": recipe.digest,
        "recipe": recipe.to_json(),
        "config_source": config_source.to_json(),
        **({} if picture_size is None else {"picture_size": picture_size}),
        "packages": dict(package_versions(kind)),
    }
    return json.dumps(record, indent=2, sort_keys=True) + "\n"


def source_licences(recipe: Recipe, config_source: ModelId, folders: Mapping[ModelId, Path]) -> dict[str, bytes]:
    """The licence and notice files of everything in a release, each under a name with its repo."""
    parts = [part for source in (*recipe.origins, config_source) for part in source.parts]
    return collect_licence_files({part.location: folders[part] for part in parts})


def package_versions(kind: ModelKind) -> tuple[tuple[str, str], ...]:
    """Name and version of shoal and of each package that a release's weights and scores depend on."""
    names = (*_LOADING, *kind.packages, *_SEARCHING)
    return (("shoal", shoal_version()), *((name, version(name)) for name in names))


def _written_digest(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / PROVENANCE).read_bytes())["recipe_digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None

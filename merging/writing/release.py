"""Write a merged model as a folder that plain `from_pretrained` loads: whole, or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from merging.errors import MergingError
from merging.identity import ModelId
from merging.kinds import kind_of
from merging.recipes.recipe import Recipe
from merging.sources.checkpoint import INDEX_NAME
from merging.sources.model_config import read_model_config
from merging.sources.weights import Weights
from merging.tokenizers.aligned import in_one_vocabulary
from merging.tokenizers.release_files import release_files
from merging.writing.atomic import atomic_folder, disk_errors
from merging.writing.companions import RECIPE_NAME, read_companions
from merging.writing.shards import Merge, write_file, write_weights

MAX_SHARD_BYTES = 5_000_000_000


@dataclass(frozen=True)
class Contents:
    """The contents of a merged model's folder, before any of it is made.

    shapes: tensor name → shape, in the order of writing. make: makes a tensor of that shape in `dtype`.
    files: everything but the weights, by name.
    """

    shapes: Mapping[str, tuple[int, ...]]
    dtype: str
    make: Merge
    files: Mapping[str, bytes]


def write_folder(target: Path, contents: Contents, *, max_shard_bytes: int = MAX_SHARD_BYTES) -> dict[str, str]:
    """Write a merged model into the new folder `target`; returns file name → SHA-256 (hex), sorted.

    max_shard_bytes: weights beyond this are split into several files with an index.
    The folder appears under its name only when every byte is on the disk.

    Raises:
        MergingError: the folder exists already, a file's name is taken, or writing fails; nothing is left of it.
    """
    for name in contents.files:
        if name == INDEX_NAME or name.endswith(".safetensors") or Path(name).name != name:
            raise MergingError(f"documents: got {name!r}: give a plain file name that the release leaves free")
    with atomic_folder(target) as folder:
        hashes = write_weights(folder, contents.shapes, contents.dtype, contents.make, max_shard_bytes)
        hashes |= {name: write_file(folder / name, [content]) for name, content in contents.files.items()}
    return dict(sorted(hashes.items()))


def write_release(
    recipe: Recipe,
    weights: Mapping[ModelId, Weights],
    target: Path,
    documents: Mapping[str, bytes],
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    config_source: Path | None = None,
) -> dict[str, str]:
    """Write the model that a recipe describes, as `write_folder` does.

    weights: the weights of every origin. documents: further files by name, such as the card.
    config_source: folder of config, generation config, tokenizer and chat template: the one that the live model
        was built from. By default the base's, or the first source's. A recipe with a vocabulary has those of the model
        that leads it, whichever folder is given.
    """
    if unknown := [origin for origin in recipe.origins if origin not in weights]:
        raise MergingError(f"sources: got {unknown[0]}: its checkpoint was not given")
    folder = config_source or weights[recipe.origins[0]].folder
    kind = kind_of(read_model_config(folder))
    return kind.write(recipe, weights, target, documents, max_shard_bytes=max_shard_bytes, config_source=folder)


def write_model(
    recipe: Recipe,
    weights: Mapping[ModelId, Weights],
    target: Path,
    documents: Mapping[str, bytes],
    *,
    max_shard_bytes: int,
    config_source: Path,
) -> dict[str, str]:
    """Write a model of one config.json, as `write_release` does."""
    read = {origin: weights[origin] for origin in recipe.origins}
    with in_one_vocabulary(recipe.vocabulary, read, config_source) as (aligned, settings_folder):
        plan = recipe.plan_files(aligned, settings_folder)
        settings = {"config.json": render_config(set_dtype(plan.config, recipe.dtype))}
        with disk_errors(target):
            files = dict(release_files(read_companions(settings_folder) | settings).files)
    files[RECIPE_NAME] = plan.mergekit_yaml.encode()
    contents = Contents(plan.shapes, recipe.dtype, plan.make, add_documents(files, documents))
    return write_folder(target, contents, max_shard_bytes=max_shard_bytes)


def add_documents(files: Mapping[str, bytes], documents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Add documents to a release's files; MergingError if one takes another file's name."""
    for name in documents:
        if name in files:
            raise MergingError(f"documents: got {name!r}: give a plain file name that the release leaves free")
    return {**files, **documents}


def set_dtype(config: Mapping[str, object], dtype: str) -> dict[str, object]:
    """Set the dtype in a config, and remove the folder that it was read from."""
    # Both names are in use: "torch_dtype" is what older versions write and read.
    keys = [key for key in ("dtype", "torch_dtype") if key in config] or ["dtype"]
    without_folder = {key: value for key, value in config.items() if key != "_name_or_path"}
    return without_folder | dict.fromkeys(keys, dtype)


def render_config(config: Mapping[str, object]) -> bytes:
    """Render the content of config.json."""
    return (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()

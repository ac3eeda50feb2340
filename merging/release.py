"""A merged model as a folder that plain `from_pretrained` loads: whole, or not there at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from merging.checkpoint import INDEX_NAME, Checkpoint
from merging.companions import COMPANIONS
from merging.errors import MergingError
from merging.merge import loader, merge_tensor
from merging.mergekit_yaml import to_mergekit_yaml
from merging.placement import empty_model, places
from merging.recipe import Recipe, SourceRef
from merging.shards import write_file, write_weights

RECIPE_NAME = "mergekit_config.yml"


def write_release(
    recipe: Recipe,
    checkpoints: Mapping[SourceRef, Checkpoint],
    target: Path,
    documents: Mapping[str, bytes],
    *,
    max_shard_bytes: int = 5_000_000_000,
    skeleton: Path | None = None,
) -> dict[str, str]:
    """Write the merged model into the new folder `target`; returns file name → SHA-256 (hex), sorted.

    documents: further files by name, such as the card.
    max_shard_bytes: weights beyond this are split into several files with an index.
    skeleton: folder of config, generation config, tokenizer and chat template: the one that the live model
        was built from. By default the base's, or the first source's.
    The folder appears under its name only when every byte is on the disk. MergingError, with nothing left
    behind, if it is there already, if a document's name is not free, and if writing fails.
    """
    load = loader(recipe, checkpoints)
    origins = {origin: checkpoints[origin] for origin in recipe.origins}
    first = origins[recipe.origins[0]]
    template = skeleton or first.folder
    shapes = {name: first.header(name).shape for name in places(empty_model(template, recipe.dtype, "meta"), origins)}
    files = _plain_files(template, recipe, shapes, documents)
    with _appearing(target) as folder:
        hashes = write_weights(
            folder, shapes, recipe.dtype, lambda name: merge_tensor(recipe, name, load), max_shard_bytes
        )
        hashes |= {name: write_file(folder / name, [content]) for name, content in files.items()}
    return dict(sorted(hashes.items()))


def _plain_files(
    template: Path, recipe: Recipe, tensor_names: Mapping[str, object], documents: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Everything but the weights, by file name."""
    files = {name: (template / name).read_bytes() for name in COMPANIONS if (template / name).is_file()}
    files["config.json"] = _config(template, recipe.dtype)
    files[RECIPE_NAME] = to_mergekit_yaml(recipe, tensor_names).encode()
    for name, content in documents.items():
        taken = name in files or name == INDEX_NAME or name.endswith(".safetensors")
        if taken or Path(name).name != name:
            raise MergingError(f"documents: got {name!r}: give a plain file name that the release leaves free")
        files[name] = content
    return files


def _config(template: Path, dtype: str) -> bytes:
    """The template's config.json, with the dtype that the release is in and without where it came from."""
    try:
        config = json.loads((template / "config.json").read_bytes())
        # Both names are in use: "torch_dtype" is what older versions write and read.
        keys = [key for key in ("dtype", "torch_dtype") if key in config] or ["dtype"]
        config |= dict.fromkeys(keys, dtype)
        config.pop("_name_or_path", None)  # a folder on somebody's machine
    except (OSError, ValueError, TypeError) as error:
        raise MergingError(f"{template / 'config.json'}: cannot be read as a JSON object ({error})") from error
    return (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A folder to fill that takes the name `target` at the end; if anything fails, nothing is left of it."""
    if target.exists():
        raise MergingError(f"{target}: it is there already: remove it, or give another folder")
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
        partial.mkdir(parents=True)
        yield partial
        _sync_folder(partial)
        partial.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise MergingError(
            f"{target}: cannot be written ({error.strerror or error}): make room or choose another folder"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    """See a folder's entries onto the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""A merged model as a folder that plain `from_pretrained` loads: whole, or not there at all."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from merging.errors import MergingError
from merging.recipes.path import PathRecipe, Recipe
from merging.recipes.weight_merge import ModelId
from merging.sources.checkpoint import INDEX_NAME, Checkpoint
from merging.writing.companions import companion_files
from merging.writing.path import written_path
from merging.writing.shards import Merge, write_file, write_weights
from merging.writing.weight_merge import written_merge

RECIPE_NAME = "mergekit_config.yml"
MAX_SHARD_BYTES = 5_000_000_000
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # as some network file systems answer


@dataclass(frozen=True)
class Contents:
    """All that a merged model's folder holds, before any of it is made.

    shapes: tensor name → shape, in the order of writing. make: of tensors of that shape in `dtype`.
    files: everything but the weights, by name.
    """

    shapes: Mapping[str, tuple[int, ...]]
    dtype: str
    make: Merge
    files: Mapping[str, bytes]


def write_folder(target: Path, contents: Contents, *, max_shard_bytes: int = MAX_SHARD_BYTES) -> dict[str, str]:
    """Write a merged model into the new folder `target`; returns file name → SHA-256 (hex), sorted.

    max_shard_bytes: weights beyond this are split into several files with an index.
    The folder appears under its name only when every byte is on the disk. MergingError, with nothing left
    behind, if it is there already, if a file's name is not free, and if writing fails.
    """
    for name in contents.files:
        if name == INDEX_NAME or name.endswith(".safetensors") or Path(name).name != name:
            raise MergingError(f"documents: got {name!r}: give a plain file name that the release leaves free")
    with _appearing(target) as folder:
        hashes = write_weights(folder, contents.shapes, contents.dtype, contents.make, max_shard_bytes)
        hashes |= {name: write_file(folder / name, [content]) for name, content in contents.files.items()}
    return dict(sorted(hashes.items()))


def write_release(
    recipe: Recipe,
    checkpoints: Mapping[ModelId, Checkpoint],
    target: Path,
    documents: Mapping[str, bytes],
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    config_source: Path | None = None,
) -> dict[str, str]:
    """Write the model that a recipe describes, as `write_folder` does.

    documents: further files by name, such as the card.
    skeleton: folder of config, generation config, tokenizer and chat template: the one that the live model
        was built from. By default the base's, or the first source's.
    """
    if unknown := [origin for origin in recipe.origins if origin not in checkpoints]:
        raise MergingError(f"sources: got {unknown[0]}: its checkpoint was not given")
    config_source = config_source or checkpoints[recipe.origins[0]].folder
    if isinstance(recipe, PathRecipe):
        written = written_path(recipe, checkpoints, config_source)
    else:
        written = written_merge(recipe, checkpoints, config_source)
    files = companion_files(config_source)
    files["config.json"] = config_text(in_dtype(written.config, recipe.dtype))
    files[RECIPE_NAME] = written.recipe.encode()
    contents = Contents(written.shapes, recipe.dtype, written.make, with_documents(files, documents))
    return write_folder(target, contents, max_shard_bytes=max_shard_bytes)


def with_documents(files: Mapping[str, bytes], documents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Both together; MergingError if a document takes another file's name."""
    for name in documents:
        if name in files:
            raise MergingError(f"documents: got {name!r}: give a plain file name that the release leaves free")
    return {**files, **documents}


def in_dtype(config: Mapping[str, object], dtype: str) -> dict[str, object]:
    """A config that tells the dtype that the weights are in, and not where it came from."""
    # Both names are in use: "torch_dtype" is what older versions write and read.
    keys = [key for key in ("dtype", "torch_dtype") if key in config] or ["dtype"]
    without_folder = {key: value for key, value in config.items() if key != "_name_or_path"}
    return without_folder | dict.fromkeys(keys, dtype)


def config_text(config: Mapping[str, object]) -> bytes:
    """The content of config.json."""
    return (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A folder to fill that takes the name `target` at the end; if anything fails, nothing is left of it."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _claimed(target):
            if target.exists():
                raise MergingError(f"{target}: it is there already: remove it, or give another folder")
            try:
                shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
                partial.mkdir()
                yield partial
                _sync_folder(partial)
                partial.replace(target)
                _sync_folder(target.parent)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise MergingError(
            f"{target}: cannot be written ({error.strerror or error}): make room or choose another folder"
        ) from error


@contextmanager
def _claimed(target: Path) -> Iterator[None]:
    """Be the only one who writes `target`; MergingError at once if another process does.

    A lock on a file beside it: the operating system lets go of it when its holder dies, however it dies.
    """
    path = target.with_name(f".{target.name}.lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not _locks(descriptor, path):
            raise MergingError(f"{target}: another process is writing it: wait for it, or give another folder")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _locks(descriptor: int, path: Path) -> bool:
    """Lock an open file; whether that worked, and the file is still the one of that name.

    Where the file system knows no locks, nothing stands in the way.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())  # its last holder may just have removed it
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    """See a folder's entries onto the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""A written release's folder beside what the ledger says of it: what a person edited, deleted or added."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path

from bot.release.verify import sha256_of
from merging.kinds import COMPANION_FILES
from merging.writing.atomic import atomic_file
from merging.writing.companions import RECIPE_NAME

EDITABLE = ("README.md", "*.png", "*.svg")
"""Files that a person may change before the upload, in the top folder alone: below it are the pictures that were scored
and that the card asks about, and records of how the release was made."""

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
_REBUILT = (*_WEIGHTS, "config.json", RECIPE_NAME, *COMPANION_FILES)
"""Files that writing the recipe again makes again."""


class FileState(StrEnum):
    """A release's file beside the ledger's entry of it."""

    AS_WRITTEN = "as written"
    EDITED = "edited"
    GONE = "gone"
    ADDED = "not part of the release"
    UNCHECKED = "hashed before the upload"


@dataclass(frozen=True)
class ReleaseFile:
    """A file of a release. size: in bytes, 0 if it is gone."""

    name: str
    size: int
    state: FileState


def inspect_folder(folder: Path, files: Mapping[str, str], *, with_weights: bool) -> tuple[ReleaseFile, ...]:
    """The files of a release, and others in its folder. files: name → SHA-256, as the ledger has them.

    with_weights: hash the weights too, which reads all of them.
    """
    there = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    found = [_inspect_file(name, there.get(name), sha256, with_weights) for name, sha256 in files.items()]
    added = [ReleaseFile(name, path.stat().st_size, FileState.ADDED) for name, path in there.items()]
    return (*found, *(file for file in added if file.name not in files))


def edited_files(folder: Path, files: Mapping[str, str]) -> tuple[str, ...]:
    """The names of a release's files that were changed since they were written; the weights are not looked at."""
    found = inspect_folder(folder, files, with_weights=False)
    return tuple(file.name for file in found if file.state is FileState.EDITED)


def digest_edits(folder: Path, files: Mapping[str, str]) -> str:
    """A digest of the files that were changed, as they are now; empty where none was."""
    edits = [f"{name} {sha256_of(folder / name)}" for name in edited_files(folder, files)]
    return hashlib.sha256("\n".join(edits).encode()).hexdigest() if edits else ""


def is_editable(name: str) -> bool:
    """Whether a person may change a release's file before it is published."""
    return "/" not in name and any(fnmatchcase(name, pattern) for pattern in EDITABLE)


def read_release_documents(folder: Path, files: Mapping[str, str]) -> dict[str, bytes]:
    """The release's files that its recipe does not determine, by name."""
    names = [name for name in files if not any(fnmatchcase(name, pattern) for pattern in _REBUILT)]
    return {name: (folder / name).read_bytes() for name in names}


def write_missing_documents(folder: Path, documents: Mapping[str, bytes]) -> None:
    """Write those files of a release that are gone from its folder."""
    for name, content in documents.items():
        if not (folder / name).exists():
            with atomic_file(folder / name) as file:
                file.write(content)


def _inspect_file(name: str, path: Path | None, sha256: str, with_weights: bool) -> ReleaseFile:
    if path is None:
        return ReleaseFile(name, 0, FileState.GONE)
    size = path.stat().st_size
    if not with_weights and any(fnmatchcase(name, pattern) for pattern in _WEIGHTS):
        return ReleaseFile(name, size, FileState.UNCHECKED)
    return ReleaseFile(name, size, FileState.AS_WRITTEN if sha256_of(path) == sha256 else FileState.EDITED)

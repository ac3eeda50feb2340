"""The files of a deployment as frozen values, and their folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bot.errors import ShoalError
from merging.writing.atomic import atomic_file


@dataclass(frozen=True)
class DeployedFile:
    """A file to write. secret: it is for a person's secrets: readable by its owner alone, and never overwritten."""

    content: bytes
    secret: bool = False


DeployedFiles = Mapping[str, DeployedFile]
"""Name (with slashes) → file."""


def text_file(text: str, *, secret: bool = False) -> DeployedFile:
    """A file with this text."""
    return DeployedFile(text.encode(), secret)


def write_deployment(folder: Path, files: DeployedFiles) -> tuple[str, ...]:
    """Write files to a folder; returns the names of those that were not there before.

    Raises:
        ShoalError: one is there with another content; nothing is written then.
    """
    for name, file in files.items():
        path = folder / name
        if path.exists() and not file.secret and (not path.is_file() or path.read_bytes() != file.content):
            raise ShoalError(f"{path}: exists already and is different; move it away, or choose another DIR")
    new = tuple(name for name in files if not (folder / name).exists())
    for name in new:
        _write(folder / name, files[name])
    return new


def _write(path: Path, file: DeployedFile) -> None:
    if not file.secret:
        with atomic_file(path) as stream:
            stream.write(file.content)
        path.chmod(0o644)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)  # before anything is in it
    path.write_bytes(file.content)

"""The watchlist files of a schedule: read at the start, and again when they are edited."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bot.errors import ShoalError
from bot.watchlist.load import load_watchlist
from bot.watchlist.watchlist import Watchlist


@dataclass(frozen=True)
class ScheduledFile:
    """A watchlist file.

    watchlist: as it could be read last. content: digest of the bytes that were there then or later, whether these could
    be read as a watchlist or not; None where there was no file.
    """

    path: Path
    watchlist: Watchlist
    content: str | None


@dataclass(frozen=True)
class FileEdit:
    """A file that was read again. fault: why it stays as it was; None if it was taken over."""

    file: ScheduledFile
    fault: str | None


def read_scheduled(paths: Sequence[Path]) -> tuple[ScheduledFile, ...]:
    """The watchlists, with absolute paths.

    Raises:
        ShoalError: one has no schedule, or two have the same name.
    """
    files: tuple[ScheduledFile, ...] = ()
    for path in dict.fromkeys(one.absolute() for one in paths):
        content = _digest(path)
        files += (ScheduledFile(path, load_scheduled(path, _names(files)), content),)
    return files


def load_scheduled(path: Path, names: Mapping[str, Path]) -> Watchlist:
    """Load one watchlist; names: those of the others. ShoalError as `read_scheduled` raises it."""
    watchlist = load_watchlist(path, with_tasks=True)
    if watchlist.schedule is None:
        raise ShoalError(f"{path}: schedule: got none: `shoal serve` needs a cron string; add one, or use `shoal run`")
    if watchlist.name in names:
        raise ShoalError(
            f"{path}: name: got {watchlist.name!r}: {names[watchlist.name]} has the same name; rename one of them"
        )
    return watchlist


def find_edits(files: Sequence[ScheduledFile], *, every: bool = False) -> tuple[FileEdit, ...]:
    """Read the files again whose content has changed; every: the others too.

    A file that is wrong now keeps its watchlist, and is not read again before it is edited once more.
    """
    edits = []
    present = {file.path: file for file in files}
    for file in files:
        content = _digest(file.path)
        if content != file.content or every:
            others = [one for path, one in present.items() if path != file.path]
            edit = _read_again(replace(file, content=content), _names(others))
            present[file.path] = edit.file  # two edits at once must not give one name to both
            edits.append(edit)
    return tuple(edits)


def _read_again(file: ScheduledFile, names: Mapping[str, Path]) -> FileEdit:
    try:
        return FileEdit(replace(file, watchlist=load_scheduled(file.path, names)), None)
    except (ShoalError, OSError) as error:
        return FileEdit(file, f"{error}\nthe watchlist stays as it was before this edit")


def _names(files: Sequence[ScheduledFile]) -> dict[str, Path]:
    return {file.watchlist.name: file.path for file in files}


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None

"""Reads a watchlist file: the one place where its keys are checked against each other."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from bot.errors import ShoalError
from bot.watchlist.contradictions import find_contradictions
from bot.watchlist.faults import describe_contradictions, describe_faults
from bot.watchlist.watchlist import Watchlist
from bot.watchlist.yaml_file import read_yaml


def load_watchlist(path: Path) -> Watchlist:
    """Read and check a watchlist; its task folders become absolute.

    The checks of keys against each other happen here and not when a stored watchlist is read again: a cycle that is
    under way keeps what it began with.

    Raises:
        ShoalError: a line for each fault: `FILE:LINE: key: got VALUE: what is wrong; what to do`.
    """
    file = read_yaml(path)
    try:
        watchlist = Watchlist.model_validate(whole_numbers(file.data))
    except ValidationError as error:
        raise ShoalError(describe_faults(error, file, Watchlist)) from None
    if found := list(find_contradictions(watchlist)):
        raise ShoalError(describe_contradictions(found, file))
    folders = [(path.parent / folder).resolve() for folder in watchlist.task_folders]
    missing = [
        f"{file.name}:{file.line(('task_folders', index))}: task_folders[{index}]: "
        f"got {watchlist.task_folders[index]!r}: there is no folder {folder}; correct the path"
        for index, folder in enumerate(folders)
        if not folder.is_dir()
    ]
    if missing:
        raise ShoalError("\n".join(missing))
    return watchlist.model_copy(update={"task_folders": tuple(map(str, folders))})


def whole_numbers(data: object) -> object:
    """The data with `1e9` and `60.0` as whole numbers, which JSON Schema takes them for, too."""
    if isinstance(data, dict):
        return {key: whole_numbers(value) for key, value in data.items()}
    if isinstance(data, tuple):
        return tuple(map(whole_numbers, data))
    return int(data) if isinstance(data, float) and data.is_integer() else data

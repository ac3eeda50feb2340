"""Reads a watchlist file: the one place where its keys are checked against each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from bot.errors import ShoalError
from bot.watchlist.contradictions import Contradiction, find_contradictions
from bot.watchlist.faults import describe_contradictions, describe_faults
from bot.watchlist.watchlist import Watchlist
from bot.watchlist.yaml_file import STDIN, read_yaml
from evaluation.suites import TASK_CHECKS
from merging.kinds import KINDS
from merging.mergekit.config import KeyPath, dotted


def load_watchlist(path: Path, *, with_tasks: bool = False) -> Watchlist:
    """Read and check a watchlist; its task folders become absolute.

    with_tasks: also check its tasks against lm-eval's task files, in up to a second and without any data.

    The checks of keys against each other happen here and not when a stored watchlist is read again: a cycle that is
    under way keeps what it began with.

    Raises:
        ShoalError: a line for each fault: `FILE:LINE: key: got VALUE: what is wrong; what to do`.
    """
    file = read_yaml(path)
    try:
        watchlist = Watchlist.model_validate(with_kinds_task(whole_numbers(file.data)))
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
    watchlist = watchlist.model_copy(update={"task_folders": tuple(map(str, folders))})
    if with_tasks and (faults := list(_find_task_faults(watchlist))):
        raise ShoalError(describe_contradictions(faults, file))
    return watchlist


def _find_task_faults(watchlist: Watchlist) -> Iterator[Contradiction]:
    """Unknown tasks, metrics and filters, and keys that do not fit their task."""
    for fault in TASK_CHECKS[watchlist.kind](watchlist.asked_skills, watchlist.task_paths):
        task = () if fault.task is None else ("tasks", fault.task)
        yield (*watchlist.asked_keys[fault.skill], *task, fault.key), fault.reason


class UnfitValueError(ShoalError):
    """A value of a watchlist that is right by itself and does not fit the models that were found."""

    def __init__(self, path: KeyPath, got: str, reason: str) -> None:
        """got: the value; empty for a group."""
        super().__init__(": ".join([dotted(path), *([f"got {got}"] if got else []), reason]))
        self.path = path
        self.reason = reason


@contextmanager
def naming_lines(file: Path) -> Iterator[None]:
    """Give the file and line of a value that turns out not to fit."""
    try:
        yield
    except UnfitValueError as error:
        if file == STDIN:  # which cannot be read again
            raise
        raise ShoalError(describe_contradictions([(error.path, error.reason)], read_yaml(file))) from error


def with_kinds_task(data: object) -> object:
    """The data with the task of its kind as watch.pipeline_tag, where that is left out."""
    if not isinstance(data, dict):
        return data
    kind, watch = data.get("kind"), data.get("watch", {})
    if not (isinstance(kind, str) and kind in KINDS and isinstance(watch, dict)):
        return data
    return {**data, "watch": {"pipeline_tag": KINDS[kind].pipeline_tag, **watch}}


def whole_numbers(data: object) -> object:
    """The data with `1e9` and `60.0` as whole numbers, which JSON Schema takes them for, too."""
    if isinstance(data, dict):
        return {key: whole_numbers(value) for key, value in data.items()}
    if isinstance(data, tuple):
        return tuple(map(whole_numbers, data))
    return int(data) if isinstance(data, float) and data.is_integer() else data

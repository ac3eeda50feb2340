"""The watchlists that go along with a deployment, with the tasks beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bot.deployment.files import DeployedFile
from bot.errors import ShoalError
from bot.watchlist.load import load_watchlist
from bot.watchlist.yaml_file import STDIN, read_yaml

FOLDER_NAME = "watchlists"


def check_served(paths: Sequence[Path]) -> None:
    """ShoalError unless `shoal serve` could run these watchlists: each is right and has a schedule and its own name."""
    names: dict[str, Path] = {}
    for path in paths:
        if path == STDIN:
            raise ShoalError("WATCHLISTS: got '-': a deployment needs files; write the watchlist to one")
        watchlist = load_watchlist(path, with_tasks=True)
        if watchlist.schedule is None:
            raise ShoalError(f"{path}: schedule: got none: `shoal serve` could not run it; add a schedule")
        if other := names.get(watchlist.name):
            raise ShoalError(f"{path}: name: got {watchlist.name!r}: {other} has the same name; rename one of them")
        names[watchlist.name] = path


def ship_watchlists(paths: Sequence[Path]) -> dict[str, DeployedFile]:
    """The files of watchlists for `shoal serve` and of their task folders, by their names under `watchlists/`.

    Raises:
        ShoalError: `shoal serve` could not run them, or a task folder is somewhere else.
    """
    check_served(paths)
    shipped: dict[str, DeployedFile] = {}
    for path in paths:
        for name, file in (*_watchlist_file(path), *_task_files(path)):
            if shipped.setdefault(f"{FOLDER_NAME}/{name}", file) != file:
                raise ShoalError(f"{path}: another watchlist brings a different {name}; rename one of them")
    return shipped


def shipped_watchlists(paths: Sequence[Path]) -> tuple[str, ...]:
    """Where the watchlists lie in the deployment, in the order of their paths."""
    return tuple(f"{FOLDER_NAME}/{path.name}" for path in paths)


def _watchlist_file(path: Path) -> Iterator[tuple[str, DeployedFile]]:
    yield path.name, DeployedFile(path.read_bytes())


def _task_files(path: Path) -> Iterator[tuple[str, DeployedFile]]:
    """The files of the task folders of a watchlist, which must lie beside it to be found again elsewhere."""
    file = read_yaml(path)
    given = file.data.get("task_folders", ()) if isinstance(file.data, dict) else ()
    for index, folder in enumerate(given if isinstance(given, tuple | list) else ()):
        found, beside = (path.parent / str(folder)).resolve(), path.parent.resolve()
        if Path(str(folder)).is_absolute() or not found.is_relative_to(beside) or found == beside:
            raise ShoalError(
                f"{path}:{file.line(('task_folders', index))}: task_folders[{index}]: got {folder!r}: only folders "
                "beside the watchlist go along; move it there, and name it by its relative path"
            )
        for task in sorted(found.rglob("*")):
            if task.is_file() and "__pycache__" not in task.parts:
                yield task.relative_to(beside).as_posix(), DeployedFile(task.read_bytes())

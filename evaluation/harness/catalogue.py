"""Finds lm-eval tasks: in the watchlist's folders first, then among the thousands that lm-eval ships."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import lm_eval.tasks
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import Entry, Kind, TaskIndex
from lm_eval.tasks._yaml_loader import load_yaml

from evaluation.errors import EvaluationError

SHIPPED = Path(lm_eval.tasks.__file__).parent
TASKS = (Kind.TASK, Kind.PY_TASK)
NAMES_SHOWN = 12


def open_catalogue(names: Collection[str], folders: Sequence[Path]) -> TaskManager:
    """lm-eval's task manager with every name in its index. Raises EvaluationError for one that is not a task.

    Indexing all tasks that lm-eval ships takes 7 to 19 s. It is done only if a name is found neither in the folders
    nor by a text search of the shipped files (1 s).
    """
    for folder in folders:
        if not folder.is_dir():
            raise EvaluationError(f"task folder {folder}: no such folder; correct task_folders")
    manager = _manager(folders, shipped=False)
    missing = set(names) - manager.task_index.keys()
    if missing:
        manager.task_index.update(_search_shipped(missing))
    if set(names) - manager.task_index.keys():
        manager = _manager(folders, shipped=True)
    for name in sorted(names):
        _require_task(name, manager.task_index, folders)
    return manager


def _manager(folders: Sequence[Path], *, shipped: bool) -> TaskManager:
    return TaskManager(include_path=[str(folder) for folder in folders], include_defaults=shipped)


def _search_shipped(names: Collection[str]) -> dict[str, Entry]:
    """Index entries of the shipped tasks of these names; no groups and tags, whose members may be in other files."""
    index: dict[str, Entry] = {}
    wanted = [name.encode() for name in names]
    for path in sorted(SHIPPED.glob("**/*.yaml")):
        text = path.read_bytes()
        if any(name in text for name in wanted):
            TaskIndex.process_cfg(load_yaml(path, resolve_func=False, recursive=True), path, index)
    return {name: index[name] for name in names if name in index and index[name].kind in TASKS}


def _require_task(name: str, index: dict[str, Entry], folders: Sequence[Path]) -> None:
    entry = index.get(name)
    if entry is None:
        hints = suggest_names(name, index) + _unreadable(folders)
        raise EvaluationError(f"unknown task {name!r}{hints}; see `lm_eval ls tasks`, or add a task folder")
    if entry.kind not in TASKS:
        members = _members(entry)
        more = f" and {len(members) - NAMES_SHOWN} more" if len(members) > NAMES_SHOWN else ""
        raise EvaluationError(
            f"{name!r} is not one task but a {entry.kind.name.lower()} of lm-eval; "
            f"list its members one by one: {', '.join(members[:NAMES_SHOWN])}{more}"
        )


def _members(entry: Entry) -> list[str]:
    if entry.kind is Kind.TAG:
        return sorted(entry.tags)
    listed: list[str | dict[str, str]] = (entry.cfg or {}).get("task") or []
    return [member if isinstance(member, str) else member.get("task") or member["group"] for member in listed]


def _unreadable(folders: Sequence[Path]) -> str:
    """The files that lm-eval skips because it cannot read them; the task may be in one of them."""
    broken = []
    for path in (path for folder in folders for path in sorted(folder.glob("**/*.yaml"))):
        try:
            load_yaml(path, resolve_func=False, recursive=True)
        except Exception as error:  # whatever YAML or an include raises
            broken.append(f"{path} ({type(error).__name__})")
    return f"; not readable: {', '.join(broken)}" if broken else ""


def suggest_names(name: str, known: Iterable[str]) -> str:
    """` (did you mean ...?)` with the names most like the wrong one, or nothing."""
    matches = difflib.get_close_matches(name, list(known), n=3)
    return f" (did you mean {', '.join(matches)}?)" if matches else ""

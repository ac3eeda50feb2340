"""Copies of a watchlist's own tasks: their files and what these name, so that others can ask them too.

Only files that a task needs are copied, because a task folder may hold anything else. Nothing of a task is run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.harness.task_files import find_task_files

MIB = 2**20
LARGEST_FILE, LARGEST_COPY = 10 * MIB, 50 * MIB
"""Bytes of one file, and of all together."""

_INCLUDE = re.compile(r"^\s*include:\s*[\"']?([^\s\"'#]+)", re.MULTILINE)
_FUNCTION = re.compile(r"!function\s+([\w.]+)\.\w+")
_WORD = re.compile(r"[^\s\"'{}\[\],:]+")
_PLAIN_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,100}(/(?!\.)[A-Za-z0-9._-]{1,100}){0,7}")


@dataclass(frozen=True)
class TaskCopies:
    """Task files to pass on.

    files: path relative to the folder of copies → content. folders: the copied task folders, relative to that folder
    (`.` where there is one), in their order. left_out: needed files that are not copied, each with the reason.
    """

    files: Mapping[str, bytes]
    folders: tuple[str, ...]
    left_out: tuple[str, ...]


def copy_task_files(names: Collection[str], folders: Sequence[Path]) -> TaskCopies:
    """Read the files of those tasks that are in the folders; tasks that lm-eval ships need no copy.

    Raises EvaluationError for a folder that does not exist.
    """
    found = find_task_files(names, folders).found
    files: dict[str, bytes] = {}
    left_out: list[str] = []
    used: list[str] = []
    for number, folder in enumerate(folders):
        root, prefix = folder.resolve(), Path(str(number + 1) if len(folders) > 1 else ".")
        starts = [file.path.resolve() for file in found.values() if file.path.resolve().is_relative_to(root)]
        for path in sorted(_needed(starts)):
            reason, content = _read(path, root, LARGEST_COPY - sum(map(len, files.values())))
            if content is None:
                left_out.append(f"{path.name}: {reason}")
            else:
                files[(prefix / path.relative_to(root)).as_posix()] = content
        if starts:
            used.append(str(prefix))
    return TaskCopies(files, tuple(used), tuple(dict.fromkeys(left_out)))


def _needed(starts: Sequence[Path]) -> set[Path]:
    """The files, and all that these name, and so on."""
    found: set[Path] = set()
    waiting = list(starts)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _named_files(path)
    return found


def _named_files(path: Path) -> Iterator[Path]:
    """The files beside a task file or module that it includes, imports or names as data."""
    if path.suffix not in (".yaml", ".yml", ".py") or path.stat().st_size > LARGEST_FILE:
        return
    text = path.read_text("utf-8", errors="replace")
    names = _names_in_code(text) if path.suffix == ".py" else _names_in_yaml(text)
    for name in names:
        try:
            named = (path.parent / name).resolve()
            if named.is_file():
                yield named
        except (OSError, ValueError):
            continue  # a text that is no file's name


def _names_in_yaml(text: str) -> Iterator[str]:
    yield from _INCLUDE.findall(text)
    yield from (f"{module.replace('.', '/')}.py" for module in _FUNCTION.findall(text))
    yield from _WORD.findall(text)


def _names_in_code(text: str) -> Iterator[str]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"{alias.name.replace('.', '/')}.py" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield f"{node.module.replace('.', '/')}.py"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value:
            yield node.value


def _read(path: Path, root: Path, room: int) -> tuple[str, bytes | None]:
    """The content, or why it is not copied and None."""
    if not path.is_relative_to(root):
        return "it is outside the task folder", None
    if not _PLAIN_NAME.fullmatch(path.relative_to(root).as_posix()):
        return "its name is not plain", None
    if path.stat().st_size > min(LARGEST_FILE, room):
        return f"it has more than {min(LARGEST_FILE, max(room, 0)):,} bytes", None
    return "", path.read_bytes()

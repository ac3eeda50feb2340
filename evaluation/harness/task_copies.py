"""Copies of a watchlist's own tasks: their files and what these name, so that others can ask them too.

Only files that a task needs are copied, because a task folder may hold anything else: those that its YAML, its code and
its data name. Nothing of a task is run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import yaml

from evaluation.harness.task_files import TaskFile, find_task_files

MIB = 2**20
LARGEST_FILE, LARGEST_COPY = 10 * MIB, 50 * MIB
"""Bytes of one file, and of all together."""

_DATA = ("jsonl", "json", "csv", "tsv")
_PICTURES = ("bmp", "gif", "jpeg", "jpg", "png", "tif", "tiff", "webp")
_FORMATS: Mapping[object, tuple[str, ...]] = {
    "arrow": ("arrow",),
    "csv": ("csv", "tsv"),
    "imagefolder": _PICTURES,
    "json": ("json", "jsonl"),
    "parquet": ("parquet",),
    "text": ("txt",),
}
"""Format of `datasets` → suffixes of the files that it reads from a folder."""
_PICTURE = re.compile(rf"[^\"',\t\r\n]+\.(?:{'|'.join(_PICTURES)})(?=[\"',\t\r\n]|$)", re.IGNORECASE)
"""The name of a picture in a data file of text: a whole JSON string, or a whole field of a table."""
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
        own = [file for file in found.values() if file.path.resolve().is_relative_to(root)]
        starts = [path.resolve() for file in own for path in (file.path, *_named_without_suffix(file))]
        starts += [path for file in own for path in _data_folder(file, root)]
        homes = {file.path.resolve().parent for file in own}
        for path in sorted(
            _needed(starts, homes, root), key=lambda path: (_PICTURE.fullmatch(path.name) is not None, path)
        ):
            reason, content = _read(path, root, LARGEST_COPY - sum(map(len, files.values())))
            if content is None:
                left_out.append(f"{path.name}: {reason}")
            else:
                files[(prefix / path.relative_to(root)).as_posix()] = content
        if starts:
            used.append(str(prefix))
    return TaskCopies(files, tuple(used), tuple(dict.fromkeys(left_out)))


def _named_without_suffix(task: TaskFile) -> Iterator[Path]:
    """Data and pictures beside a task's file that its dataset_kwargs name for its own function to complete."""
    for name in _texts(task.config.get("dataset_kwargs")) if task.config.get("custom_dataset") else ():
        yield from _existing((f"{name}.{suffix}" for suffix in (*_DATA, *_PICTURES)), [task.path.parent])


def _data_folder(file: TaskFile, root: Path) -> Iterator[Path]:
    """The data in the folder that a task's file names as its data set; the folder itself if it is outside the root."""
    given = file.config.get("dataset_kwargs")
    named = given.get("data_dir") if isinstance(given, Mapping) else None
    if not isinstance(named, str):
        return
    folder = (file.path.parent / named).resolve()
    if not folder.is_relative_to(root):
        yield folder
        return
    form = file.config.get("dataset_path")
    suffixes = _FORMATS.get(form, (*_DATA, *_PICTURES))
    for path in folder.rglob("*"):
        suffix = path.suffix.removeprefix(".").lower()
        described = form == "imagefolder" and path.stem == "metadata" and suffix in (*_DATA, "parquet")
        if path.is_file() and (suffix in suffixes or described):
            yield path.resolve()


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for inner in value.values() for text in _texts(inner))
    elif isinstance(value, list):
        yield from (text for inner in value for text in _texts(inner))


def _needed(starts: Sequence[Path], homes: Collection[Path], root: Path) -> set[Path]:
    """The files, and all that these name, and so on; those outside the root are not opened."""
    found: set[Path] = set()
    waiting = list(starts)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _named_files(path, homes) if path.is_relative_to(root) else ()
    return found


def _named_files(path: Path, homes: Collection[Path]) -> Iterator[Path]:
    """The files that a task file, module or data file includes, imports or names: beside it, and pictures in data
    beside a task file, too (`homes`)."""
    kind = path.suffix.removeprefix(".")
    if kind not in ("yaml", "yml", "py", *_DATA) or path.stat().st_size > LARGEST_FILE:
        return
    text = path.read_text("utf-8", errors="replace")
    if kind in _DATA:
        yield from _existing(_PICTURE.findall(text), {path.parent, *homes})
    elif kind == "py":
        yield from _existing(_names_in_code(text), [path.parent])
    else:
        yield from _existing(_names_in_yaml(text), [path.parent])


def _existing(names: Iterable[str], folders: Collection[Path]) -> Iterator[Path]:
    """The files of these names."""
    for folder, name in product(folders, names):
        try:
            named = (folder / name).resolve()
            if named.is_file():
                yield named
        except (OSError, ValueError):
            continue  # a text that is no file's name


def _names_in_yaml(text: str) -> Iterator[str]:
    """The values, their words, and the modules of functions; comments name nothing."""
    is_function = False
    try:
        for token in yaml.scan(text):
            if isinstance(token, yaml.ScalarToken):
                if is_function:
                    yield f"{token.value.rpartition('.')[0].replace('.', '/')}.py"
                yield from (token.value, *_WORD.findall(token.value))
            is_function = isinstance(token, yaml.TagToken) and token.value == ("!", "function")
    except yaml.YAMLError:
        return


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

"""The judge `rule`: a Python function in the task's own folder."""

from __future__ import annotations

import hashlib
import importlib.util
import numbers
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evaluation.errors import EvaluationError
from evaluation.pictures.judges.judge import SCORE, JudgeRepo
from evaluation.pictures.rows import Row

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST_FILE = 10 * 2**20
"""Bytes of a file beside a rule, above which its size alone is compared."""

_LISTS = (".yaml", ".yml", ".jsonl", ".txt")
"""Endings of task files, and of lists of prompts."""

Rule = Callable[["Image", Row], float | Mapping[str, float]]


@dataclass(frozen=True)
class RuleSettings:
    """A function by its file and its name."""

    path: Path
    function: str

    name = "rule"
    graded = False

    @property
    def description(self) -> str:
        """As `JudgeSettings`."""
        return f"rule {self.path.stem}.{self.function}"

    @property
    def repo(self) -> JudgeRepo | None:
        """A rule has no weights."""
        return None

    @property
    def facts(self) -> object:
        """The function's name, and the files of its folder: it may import or read them.

        Task files and lists of prompts are left out: what they say is in the keys of the items that it matters for.
        """
        folder = self.path.parent
        files = sorted(path for path in folder.rglob("*") if _may_matter(path.relative_to(folder)) and path.is_file())
        content = [[file.relative_to(folder).as_posix(), _digest(file)] for file in files]
        return [self.name, self.path.name, self.function, content]

    def check_row(self, row: Row) -> None:
        """A rule looks at what it likes."""

    def open(self, folder: Path | None, device: str) -> RuleJudge:  # noqa: ARG002
        """Import the function. Raises EvaluationError if there is none."""
        try:
            found = getattr(_import(self.path), self.function, None)
        except (Exception, SystemExit) as error:  # the user's own code
            raise EvaluationError(f"{self.path.name} cannot be imported: {_words(error)}") from error
        if not callable(found):
            raise EvaluationError(f"{self.path.name} has no function {self.function}")
        return RuleJudge(self.description, found)


def parse_rule(value: object) -> RuleSettings:
    """Read `!function file.name`, which the reader of task files makes an absolute path."""
    file, dot, function = str(value).rpartition(".")
    if not isinstance(value, str) or not dot or not Path(file).is_absolute():
        raise EvaluationError(f": got {value!r}: write !function file.name, of a function in a file beside the task's")
    path = Path(f"{file}.py")
    if not path.is_file():
        raise EvaluationError(f": got {path.stem}.{function}: there is no file {path.name} beside the task's")
    return RuleSettings(path.resolve(), function)


@dataclass(frozen=True)
class RuleJudge:
    """Calls a function for each picture."""

    description: str
    rule: Rule

    def judge(self, pictures: Sequence[Image], rows: Sequence[Row]) -> list[Mapping[str, float]]:
        """The numbers that the function gives; a plain number is `score`."""
        return [self._one(picture, row) for picture, row in zip(pictures, rows, strict=True)]

    def _one(self, picture: Image, row: Row) -> Mapping[str, float]:
        try:
            found = self.rule(picture, dict(row))
        except Exception as error:  # the user's own code
            raise EvaluationError(f"{self.description} fails on {row['prompt']!r}: {_words(error)}") from error
        values = found if isinstance(found, Mapping) else {SCORE: found}
        if odd := [value for value in values.values() if not isinstance(value, numbers.Real | np.bool_)]:
            raise EvaluationError(f"{self.description} gives a {type(odd[0]).__name__}: give a number for each metric")
        return {str(metric): float(value) for metric, value in values.items()}


def _import(path: Path) -> object:
    """The module of a file, imported anew; files beside it can be imported by it under their plain names.

    These are forgotten afterwards: another task's folder may have other files of the same names.
    """
    name = f"shoal_rule_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # a dataclass looks for the module that it is defined in
    before = set(sys.modules)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
        for own in sys.modules.keys() - before:
            if Path(getattr(sys.modules[own], "__file__", None) or "/").is_relative_to(path.parent):
                del sys.modules[own]
    return module


def _may_matter(path: Path) -> bool:
    """Whether a file of a rule's folder may decide its numbers. path: from there."""
    is_made = any(part.startswith(".") or part == "__pycache__" for part in path.parts)
    return not is_made and path.suffix.lower() not in _LISTS


def _digest(path: Path) -> str:
    try:
        size = path.stat().st_size
        return f"{size} bytes" if size > LARGEST_FILE else hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise EvaluationError(f"{path}: it lies beside a rule and cannot be read ({error}); move it away") from error


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"

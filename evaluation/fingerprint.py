"""Digests of values, functions and source code, for the keys by which scores are kept."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path


def digest(value: object) -> str:
    """sha256 of a value's canonical JSON; a function or class counts with the whole file that defines it."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=_code)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@cache
def sources_digest(package: Path, without: tuple[str, ...] = ()) -> str:
    """Digest of a package's Python files, wherever it is installed; read once in a process.

    without: sub-packages and modules (paths below the package, "racing", "splits.py") whose code decides no score.
    """
    files = [
        path
        for path in sorted(package.rglob("*.py"))
        if not any(path.is_relative_to(package / name) for name in without)
    ]
    return digest([[path.relative_to(package).as_posix(), path.read_text("utf-8")] for path in files])


def _code(value: object) -> object:
    if not callable(value):
        return str(value)
    return {"name": getattr(value, "__qualname__", type(value).__qualname__), "source": _source(value)}


def _source(value: Callable[..., object]) -> str | None:
    """Digest of the file that defines a function or class (or an object's class), if there is one."""
    definition = value if hasattr(value, "__qualname__") else type(value)
    try:
        path = inspect.getsourcefile(definition)
    except TypeError:  # built into the interpreter
        return None
    if path is None or not Path(path).is_file():
        return None
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()

"""Answers that take transformers seconds, kept on the disk: the next process need not import it to know them.

What may be kept is a pure function of a config.json. Answers belong to the version of transformers that gave them, and
to the text of the files that the function and the class of its answer stand in. Nothing is kept before `set_cache_dir`
has named a folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from functools import cache, wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

Answer = TypeVar("Answer")
ItemRequests = Callable[[Mapping[str, Any], str], Answer]
"""A question about a config; its second argument is what errors call the config, and makes no difference."""

_folder: Path | None = None


def set_cache_dir(folder: Path | None) -> None:
    """Keep answers in this folder from now on; None: keep none. Anyone may delete it, or a file in it."""
    global _folder  # where a process keeps things is one decision, made where it starts
    _folder = folder


def cached_on_disk(
    to_json: Callable[[Answer], Any], from_json: Callable[[Any], Answer]
) -> Callable[[ItemRequests[Answer]], ItemRequests[Answer]]:
    """A question whose answers are kept. Errors are raised as they come, and asked for anew."""

    def decorate(question: ItemRequests[Answer]) -> ItemRequests[Answer]:
        @wraps(question)
        def ask(config: Mapping[str, Any], label: str) -> Answer:
            if _folder is None:
                return question(config, label)
            path = _folder / f"{question.__name__}-{_key((question, from_json), config)}.json"
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                return from_json(json.loads(path.read_bytes()))
            text = json.dumps(to_json(question(config, label)))
            with contextlib.suppress(OSError):  # a full or read-only disk costs seconds, no more
                _write(path, text)
            return from_json(json.loads(text))  # the same as the next process gets

        return ask

    return decorate


def _key(code: tuple[Any, ...], config: Mapping[str, Any]) -> str:
    about = json.dumps([version("transformers"), *map(_text_digest, code), config], sort_keys=True)
    return hashlib.sha256(about.encode()).hexdigest()[:32]


@cache
def _text_digest(code: Any) -> str:
    """Of the file that a function or class stands in; nothing for Python's own."""
    try:
        return hashlib.sha256(Path(inspect.getfile(code)).read_bytes()).hexdigest()
    except TypeError:
        return ""


def _write(path: Path, text: str) -> None:
    """Whole or not at all, also beside others who write the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

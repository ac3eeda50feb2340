"""A disk cache of transformers' answers about configs, which saves the next process the seconds of importing it.

Only pure functions of a config.json may be cached. An answer is valid for the version of transformers and for the code
of this package that gave it. Nothing is cached outside `cache_in`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import merging
from merging.writing.atomic import atomic_file

Answer = TypeVar("Answer")
Question = Callable[[Mapping[str, object], str], Answer]
"""A function of a config; its second argument names the config in errors, and does not change the answer."""

# Not a parameter: the functions that ask are many calls below the one that knows the folder. Threads start without it.
_folder: ContextVar[Path | None] = ContextVar("transformers_cache", default=None)


@contextmanager
def cache_in(folder: Path) -> Iterator[None]:
    """Keep answers in this folder, within the block and this thread. Anyone may delete it, or a file in it."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def cached_on_disk(
    to_json: Callable[[Answer], Any], from_json: Callable[[Any], Answer]
) -> Callable[[Question[Answer]], Question[Answer]]:
    """Decorator for a question whose answers are cached. Errors are raised and not cached."""

    def decorate(question: Question[Answer]) -> Question[Answer]:
        @wraps(question)
        def ask(config: Mapping[str, object], label: str) -> Answer:
            folder = _folder.get()
            if folder is None:
                return question(config, label)
            path = folder / f"{question.__name__}-{_key(config)}.json"
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                return from_json(json.loads(path.read_bytes()))
            text = json.dumps(to_json(question(config, label))).encode()
            with contextlib.suppress(OSError), atomic_file(path) as file:  # a full disk costs seconds, no more
                file.write(text)
            return from_json(json.loads(text))  # the same as the next process gets

        return ask

    return decorate


def _key(config: Mapping[str, object]) -> str:
    about = json.dumps([_transformers_version(), _code_digest(), config], sort_keys=True)
    return hashlib.sha256(about.encode()).hexdigest()[:32]


@cache
def _transformers_version() -> str:
    return version("transformers")  # reads the package's metadata at each call


@cache
def _code_digest() -> str:
    """Digest of all code of this package: a question may ask any of it."""
    files = sorted(Path(merging.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()

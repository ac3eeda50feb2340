"""The schedulers of diffusers and their settings, read from its source: to import them takes seconds."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path


def find_scheduler_fault(scheduler: Mapping[str, object] | None) -> str | None:
    """Why diffusers has no such scheduler, or the scheduler no such setting; None where nothing is known to be wrong.

    scheduler: as task files name it.
    """
    if scheduler is None or (folder := _folder()) is None:
        return None
    name = str(scheduler["class"])
    found = _find_class(folder, name)
    if found is None:
        return f"sampler.scheduler.class: got {name!r}: diffusers has no such scheduler"
    settings = _settings(found)
    if settings and (unknown := sorted(map(str, scheduler.keys() - settings - {"class"}))):
        return f"sampler.scheduler.{unknown[0]}: {name} has no such setting; leave it out"
    return None


@cache
def _find_class(folder: Path, name: str) -> ast.ClassDef | None:
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if f"class {name}(SchedulerMixin" in text:
            nodes = ast.walk(ast.parse(text))
            return next(node for node in nodes if isinstance(node, ast.ClassDef) and node.name == name)
    return None


def _settings(scheduler: ast.ClassDef) -> set[str]:
    made = (node for node in scheduler.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    return {given.arg for node in made for given in (*node.args.args[1:], *node.args.kwonlyargs)}


def _folder() -> Path | None:
    found = find_spec("diffusers")
    places = found.submodule_search_locations if found else None
    return Path(places[0], "schedulers") if places else None

"""lm-eval's task files as text: finds tasks, and checks what is asked of them, without importing lm-eval.

That import takes seconds, and so does lm-eval's index of the thousands of tasks that it ships.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from evaluation.answers.rouge import ROUGE_L_JA, missing_packages
from evaluation.errors import EvaluationError
from evaluation.skills import Skill, SkillTask
from evaluation.suites import TaskFault

NAMES_SHOWN = 12
_NAME = re.compile(rb"""^[ -]*["']?task["']?: *["']?([^\s"'#\[\]]+)""", re.MULTILINE)
"""The name of a task in the text of a task file."""


@dataclass(frozen=True)
class TaskFile:
    """A task as its file describes it; `config` has its includes merged, and functions as text."""

    path: Path
    config: Mapping[str, object]


@dataclass
class TaskSearch:
    """The result of a search for tasks by name; `refused` says, by name, why there is no such task."""

    found: dict[str, TaskFile] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def find_task_files(names: Collection[str], folders: Sequence[Path]) -> TaskSearch:
    """Find tasks by name: in these folders first, then among those that lm-eval ships (a text search of 1 s).

    Raises EvaluationError for a folder that does not exist.
    """
    own, broken = _read_folders(folders)
    search = TaskSearch({name: own.tasks[name] for name in names if name in own.tasks})
    missing = [name for name in names if name not in own.tasks]
    shipped, known = _search_shipped(tuple(sorted(name for name in missing if name not in own.collections)))
    search.found |= {name: shipped.tasks[name] for name in missing if name in shipped.tasks}
    for name in missing:
        if collection := own.collections.get(name) or shipped.collections.get(name):
            search.refused[name] = _refuse_collection(name, collection)
        elif name not in search.found:
            unreadable = f"; not readable: {', '.join(broken)}" if broken else ""
            hints = suggest_names(name, {*own.tasks, *own.collections, *known}) + unreadable
            search.refused[name] = f"unknown task {name!r}{hints}; see `lm_eval ls tasks`, or add a task folder"
    return search


@dataclass
class _Collection:
    """A group or a tag (`kind`), with the names of its tasks."""

    kind: str
    members: list[str]


@dataclass
class _Index:
    """Tasks by name, and groups and tags by theirs."""

    tasks: dict[str, TaskFile] = field(default_factory=dict)
    collections: dict[str, _Collection] = field(default_factory=dict)

    def add_all(self, paths: Iterable[Path]) -> None:
        """Add the tasks and groups of files; what is no task file by its name only serves to be included."""
        for path in paths:
            if path.suffix == ".yaml":
                self.add(path, _read_config(path))

    def add(self, path: Path, config: Mapping[str, object]) -> None:
        """Add the task or group of a file."""
        task, group = config.get("task"), config.get("group")
        if isinstance(group, str) and "class" not in config:
            members = [_member_name(member) for member in task] if isinstance(task, list) else []
            self.collections[group] = _Collection("group", members)
        elif isinstance(task, str):
            self.tasks.setdefault(task, TaskFile(path, config))
            tags = config.get("tag")
            for tag in tags if isinstance(tags, list) else [tags]:
                if isinstance(tag, str):
                    self.collections.setdefault(tag, _Collection("tag", [])).members.append(task)


def _member_name(member: object) -> str:
    return str(member.get("task") or member.get("group")) if isinstance(member, dict) else str(member)


def _refuse_collection(name: str, collection: _Collection) -> str:
    shown = sorted(collection.members)[:NAMES_SHOWN]
    more = f" and {len(collection.members) - len(shown)} more" if len(collection.members) > len(shown) else ""
    return (
        f"{name!r} is not one task but a {collection.kind} of lm-eval; "
        f"list its members one by one: {', '.join(shown)}{more}"
    )


def read_own_tasks(folders: Sequence[Path]) -> tuple[Mapping[str, TaskFile], list[str]]:
    """The tasks of all folders by name, whatever they are asked of, and the files that cannot be read.

    Raises EvaluationError for a folder that does not exist.
    """
    index, broken = _read_folders(folders)
    return index.tasks, broken


def _read_folders(folders: Sequence[Path]) -> tuple[_Index, list[str]]:
    """The tasks of all folders (of two with one name, the last folder's), and the files that cannot be read."""
    index, broken = _Index(), []
    for folder in reversed(folders):
        if not folder.is_dir():
            raise EvaluationError(f"task folder {folder}: no such folder; correct task_folders")
        for path in sorted(folder.glob("**/*.yaml")):
            try:
                index.add(path, _read_config(path))
            except Exception as error:  # whatever YAML or an include raises
                broken.append(f"{path} ({type(error).__name__})")
    return index, broken


@cache
def _search_shipped(names: tuple[str, ...]) -> tuple[_Index, set[str]]:
    """The shipped tasks, groups and tags of these names; and, if one of them is missing, the names of all tasks."""
    index = _Index()
    if not names:
        return index, set()
    paths = sorted((_lm_eval() / "tasks").glob("**/*yaml*"))
    texts = {path: path.read_bytes() for path in paths if path.is_file()}
    # As words of their own: reading all files that have "mmlu" somewhere would take 3 s.
    words = b"|".join(re.escape(name.encode()) for name in names)
    wanted = re.compile(rb"(?<![\w/.-])(?:" + words + rb")(?![\w/.-])")
    naming = [path for path, text in texts.items() if wanted.search(text)]
    index.add_all(naming)
    if all(name in index.tasks for name in names):
        return index, set()
    index.add_all(_find_includers(naming, texts))  # a tag is passed on to the files that include its file
    return index, {found.decode(errors="replace") for text in texts.values() for found in _NAME.findall(text)}


def _find_includers(included: Sequence[Path], texts: Mapping[Path, bytes]) -> Iterator[Path]:
    """The files that include others, from their own folder or from the one above."""
    names: dict[Path, list[bytes]] = {}
    for path in included:
        names.setdefault(path.parent, []).append(path.name.encode())
    for path in texts.keys() - set(included):
        near = [*names.get(path.parent, ()), *names.get(path.parent.parent, ())]
        if near and b"include:" in texts[path] and any(name in texts[path] for name in near):
            yield path


def _lm_eval() -> Path:
    """The folder of the installed package."""
    spec = importlib.util.find_spec("lm_eval")
    assert spec is not None and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def _read_config(path: Path) -> dict[str, object]:
    config: dict[str, object] = _yaml_reader()(path, resolve_func=False, recursive=True)
    return config


@cache
def _yaml_reader() -> Callable[..., dict[str, object]]:
    """lm-eval's own reader, from its file: importing it by its name would import the whole package."""
    spec = importlib.util.spec_from_file_location("shoal_task_reader", _lm_eval() / "tasks" / "_yaml_loader.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    reader: Callable[..., dict[str, object]] = module.load_yaml
    return reader


def suggest_names(name: str, known: Iterable[str]) -> str:
    """` (did you mean ...?)` with the names most like the wrong one, or nothing."""
    matches = difflib.get_close_matches(name, list(known), n=3)
    return f" (did you mean {', '.join(matches)}?)" if matches else ""


# -- what a watchlist asks of a task ------------------------------------------------------------------------------


def find_task_faults(skills: Sequence[Skill], folders: Sequence[Path], *, pictures: bool) -> Iterator[TaskFault]:
    """All faults that the task files show: unknown tasks, metrics and filters, and keys that do not fit the task.

    pictures: whether tasks must have pictures; otherwise they must have none.
    """
    search = find_task_files({use.task for skill in skills for use in skill.tasks}, folders)
    for index, skill in enumerate(skills):
        for number, use in enumerate(skill.tasks):
            if use.task in search.refused:
                yield TaskFault(index, number, "task", search.refused[use.task])
                continue
            config = search.found[use.task].config
            for key, reason in find_use_faults(use, config, pictures=pictures):
                yield TaskFault(index, number, key, reason)
            kind = config.get("output_type")
            if skill.language is not None and isinstance(kind, str) and kind != "generate_until":
                yield TaskFault(index, None, "language", generates_no_text(use.task, kind))


def find_use_faults(use: SkillTask, config: Mapping[str, object], *, pictures: bool) -> Iterator[tuple[str, str]]:
    """(key, reason) for each key of a use that does not fit the task's config, as far as the config alone shows it."""
    if "class" in config:
        yield "task", f"task {use.task} is written as a plain Python class; use a task with a YAML file"
        return
    if reason := _refuse_medium(use.task, config, pictures=pictures):
        yield "task", reason
        return
    filters = _listed(config.get("filter_list"), "name") or ["none"]
    if use.filter is None and len(filters) > 1:
        yield "filter", f"task {use.task} has several filters; set filter to one of {', '.join(filters)}"
    elif use.filter is not None and use.filter not in filters:
        hint = suggest_names(use.filter, filters)
        yield "filter", f"unknown filter {use.filter!r} of task {use.task}{hint}; it has {', '.join(filters)}"
    metrics = _listed(config.get("metric_list"), "metric")
    if ROUGE_L_JA in metrics and (missing := missing_packages()):
        yield "metric", f"task {use.task}: {ROUGE_L_JA} needs {', '.join(missing)}; pip install 'shoal[japanese]'"
    if metrics and use.metric not in metrics:
        hint = suggest_names(use.metric, metrics)
        yield "metric", f"unknown metric {use.metric!r} of task {use.task}{hint}; it has {', '.join(metrics)}"
    if config.get("num_fewshot") == 0 and use.num_fewshot:
        why = f"num_fewshot is {use.num_fewshot}, but task {use.task} fixes it at 0; leave it out"
        yield "num_fewshot", why


def _refuse_medium(name: str, config: Mapping[str, object], *, pictures: bool) -> str | None:
    """Why a task's documents cannot be shown to the models, or None."""
    if config.get("doc_to_audio") is not None:
        return f"task {name} has sound (doc_to_audio), which no model here can hear; use a task without"
    if config.get("doc_to_image") is None:
        return (
            f"task {name} has no pictures (doc_to_image), which vision-language models are asked about; use a task "
            "with pictures, write doc_to_image: [] in one that means to have none, or use kind: language"
            if pictures
            else None
        )
    if not pictures:
        return (
            f"task {name} has pictures (doc_to_image), which language models cannot see; use a text task, or "
            "kind: vision-language"
        )
    if config.get("output_type") == "loglikelihood_rolling":
        return f"task {name} scores whole texts (loglikelihood_rolling), which have no place for pictures; use another"
    return None


def generates_no_text(task: str, kind: str) -> str:
    """Why a skill's language does not fit a task with this output type."""
    return (
        f"task {task} generates no text ({kind}), so its answers have no language; "
        "leave language out, or use a task that generates its answers"
    )


def _listed(entries: object, key: str) -> list[str]:
    """The names in a list of groups of keys. A function counts by its own name, as it does for lm-eval."""
    rows = entries if isinstance(entries, list) else []
    values = [row.get(key) for row in rows if isinstance(row, dict)]
    return [getattr(value, "__name__", str(value).rpartition(".")[2]) for value in values if value is not None]

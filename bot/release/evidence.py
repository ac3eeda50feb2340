"""The evidence in a release, by which anyone can check its claims: watchlist, own tasks, item scores.

`shoal verify` reads it again. A release of a stranger is hostile until it is checked, so reading has limits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from bot.errors import ShoalError
from bot.release.results import CycleResults
from bot.watchlist.load import load_watchlist
from bot.watchlist.watchlist import Watchlist
from evaluation.eval_set import EvalItem
from evaluation.scores import ItemScore
from evaluation.splits import Split
from merging.writing.atomic import atomic_file

if TYPE_CHECKING:
    from evaluation.harness.task_copies import TaskCopies

EVIDENCE_FOLDER = "shoal"
WATCHLIST_FILE = f"{EVIDENCE_FOLDER}/watchlist.yml"
ITEMS_FILE = f"{EVIDENCE_FOLDER}/report_items.json"
TASKS_FOLDER = f"{EVIDENCE_FOLDER}/tasks"
LARGEST_ITEMS = 64 * 2**20
"""Bytes of the file of item scores; a file of a stranger may be any size."""

_HEADER = "# The watchlist of this release, without where and when it runs. `shoal verify` reads it.\n"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class ScoredTask(_Frozen):
    """The scores of a release on one use of a task. scores: item id → value, as the task gives it."""

    skill: str
    task: str
    scores: dict[str, float]


class ReportItems(_Frozen):
    """The report items of a release, with the scores on its card.

    eval_set: digest of the whole evaluation set. device, batch_size: how it was scored.
    """

    version: int
    eval_set: str
    device: str
    batch_size: PositiveInt
    tasks: tuple[ScoredTask, ...]


@dataclass(frozen=True)
class Evidence:
    """What a release says of how it was measured."""

    watchlist: Watchlist
    items: ReportItems


def write_evidence(results: CycleResults, recipe: str, folder: Path) -> tuple[str, ...]:
    """Write the evidence of a release into its folder; returns what could not be passed on, a line each."""
    watchlist, report = results.watchlist, results.splits[Split.REPORT]
    copies = _task_copies(watchlist)
    items = collect_report_items(
        report.eval_set.digest,
        report.eval_set.items,
        report.merges[recipe].scores,
        results.resources.device,
        results.resources.batch_size,
    )
    files = {
        WATCHLIST_FILE: render_watchlist(watchlist, copies.folders).encode(),
        ITEMS_FILE: (items.model_dump_json() + "\n").encode(),
        **{f"{TASKS_FOLDER}/{name}": content for name, content in copies.files.items()},
    }
    for name, content in files.items():
        with atomic_file(folder / name) as file:
            file.write(content)
    return copies.left_out


def render_watchlist(watchlist: Watchlist, task_folders: Sequence[str]) -> str:
    """The watchlist as a file: what is not at its default, and the defaults that decide items and weights.

    task_folders: the copies', relative to the folder of copies.
    """
    values = watchlist.model_dump(
        mode="json", exclude_defaults=True, exclude={"publish", "schedule", "workers", "task_folders"}
    )
    search = watchlist.search.model_dump(mode="json", include={"method", "dtype", "seed"})
    values["search"] = search | values.get("search", {})
    values["items"] = watchlist.items.model_dump(mode="json")
    values["publish"] = {"mode": "off"}
    if task_folders:
        values["task_folders"] = [str(Path("tasks", folder)) for folder in task_folders]
    return _HEADER + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def collect_report_items(
    eval_set: str, items: Iterable[EvalItem], scores: Iterable[ItemScore], device: str, batch_size: int
) -> ReportItems:
    """The scores of a release by use of a task; `scores` are in the order of `items`."""
    tasks: dict[tuple[str, str], dict[str, float]] = {}
    for item, score in zip(items, scores, strict=True):
        tasks.setdefault((item.skill, item.task), {})[item.item] = score.value
    return ReportItems(
        version=1,
        eval_set=eval_set,
        device=device,
        batch_size=batch_size,
        tasks=tuple(ScoredTask(skill=skill, task=task, scores=found) for (skill, task), found in tasks.items()),
    )


def read_evidence(folder: Path) -> Evidence:
    """Read a release's evidence. Raises ShoalError, which names the file, if there is none or it is malformed."""
    for name in (WATCHLIST_FILE, ITEMS_FILE):
        if not (folder / name).is_file():
            raise ShoalError(f"{name}: the release does not have it, so its scores cannot be checked")
    path = folder / ITEMS_FILE
    if path.stat().st_size > LARGEST_ITEMS:
        raise ShoalError(f"{ITEMS_FILE}: has {path.stat().st_size:,} bytes; more than {LARGEST_ITEMS:,} are not read")
    try:
        items = ReportItems.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise ShoalError(f"{ITEMS_FILE}: {where}: {first['msg']}") from error
    if items.version != 1:
        raise ShoalError(f"{ITEMS_FILE}: version is {items.version}, this shoal reads 1; use a newer one")
    return Evidence(load_watchlist(folder / WATCHLIST_FILE), items)


def read_record(path: Path) -> Mapping[str, object]:
    """A JSON object from a release's file; ShoalError for anything else."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ShoalError(f"{path.name}: is not readable as JSON, or missing ({type(error).__name__})") from error
    if not isinstance(value, dict):
        raise ShoalError(f"{path.name}: is not a JSON object")
    return value


def _task_copies(watchlist: Watchlist) -> TaskCopies:
    from evaluation.harness.task_copies import TaskCopies, copy_task_files

    if not watchlist.publish.tasks or not watchlist.task_folders:
        return TaskCopies({}, (), ())
    names = {use.task for skill in watchlist.asked_skills for use in skill.tasks}
    return copy_task_files(names, watchlist.task_paths)

"""Task files of image generators: finds and checks them, and what skills ask of them. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.errors import EvaluationError
from evaluation.harness.task_files import TaskFile, read_own_tasks, suggest_names
from evaluation.pictures.judges import parse_judge
from evaluation.pictures.judges.judge import SCORE, JudgeRepo, JudgeSettings
from evaluation.pictures.rows import RowText
from evaluation.pictures.sampler import Sampler, parse_sampler
from evaluation.pictures.schedulers import find_scheduler_fault
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Split
from evaluation.suites import TaskFault

MOST_SEEDS = 1000
_REQUIRED = ("task", "dataset", "sampler", "judge")
_KEYS = (*_REQUIRED, "prompt", "subject", "seeds", "report_judge", "metric_list")
_SETS = ("train", "test")


@dataclass(frozen=True)
class PictureTask:
    """A task as its file describes it.

    test, train: files of prompts; `train`, if there is one, is the search's. seeds: pictures of each prompt.
    report_judge: judges the report split; None for `judge`. metrics: name → whether higher is better.
    """

    name: str
    test: Path
    train: Path | None
    prompt: RowText
    subject: RowText | None
    seeds: int
    sampler: Sampler
    judge: JudgeSettings
    report_judge: JudgeSettings | None
    metrics: Mapping[str, bool]

    def judge_of(self, split: Split) -> JudgeSettings:
        """The judge of a split's pictures."""
        return self.report_judge if split is Split.REPORT and self.report_judge is not None else self.judge


@dataclass(frozen=True)
class PictureTaskSearch:
    """The result of a search for tasks by name; `refused` says, by name, why a task cannot be used."""

    found: Mapping[str, PictureTask]
    refused: Mapping[str, str]


def find_picture_tasks(names: Collection[str], folders: Sequence[Path]) -> PictureTaskSearch:
    """Find tasks by name in these folders. Raises EvaluationError for a folder that does not exist."""
    own, broken = read_own_tasks([folder.resolve() for folder in folders])
    found, refused = {}, {}
    for name in names:
        if name not in own:
            unreadable = f"; not readable: {', '.join(broken)}" if broken else ""
            hints = suggest_names(name, own) + unreadable
            refused[name] = f"unknown task {name!r}{hints}; image generators have only the tasks in task_folders"
            continue
        try:
            found[name] = parse_picture_task(own[name])
        except EvaluationError as error:
            refused[name] = f"task {name}: {own[name].path.name}: {error}"
    return PictureTaskSearch(found, refused)


def find_judge_repos(skills: Sequence[Skill], folders: Sequence[Path]) -> tuple[JudgeRepo, ...]:
    """The repos of all models that judge the tasks of these skills, in a fixed order."""
    tasks = find_picture_tasks({use.task for skill in skills for use in skill.tasks}, folders).found.values()
    repos = {judge.repo for task in tasks for judge in (task.judge, task.report_judge) if judge and judge.repo}
    return tuple(sorted(repos, key=lambda repo: (repo.repo, repo.revision)))


def find_picture_faults(skills: Sequence[Skill], folders: Sequence[Path]) -> Iterator[TaskFault]:
    """All faults that the task files show, and keys of skills that have no meaning for pictures."""
    search = find_picture_tasks({use.task for skill in skills for use in skill.tasks}, folders)
    for index, skill in enumerate(skills):
        if skill.chat_template:
            yield TaskFault(index, None, "chat_template", "pipelines have no chat template; leave it out")
        if skill.language is not None:
            yield TaskFault(index, None, "language", "pictures have no language; leave it out")
        for number, use in enumerate(skill.tasks):
            if use.task in search.refused:
                yield TaskFault(index, number, "task", search.refused[use.task])
                continue
            if fault := find_scheduler_fault(search.found[use.task].sampler.scheduler):
                yield TaskFault(index, number, "task", f"task {use.task}: {fault}")
            for key, reason in find_metric_faults(use, search.found[use.task]):
                yield TaskFault(index, number, key, reason)


def find_metric_faults(use: SkillTask, task: PictureTask) -> Iterator[tuple[str, str]]:
    """(key, reason) for each key of a use that does not fit its task."""
    if use.metric not in task.metrics:
        hint = suggest_names(use.metric, task.metrics)
        yield "metric", f"unknown metric {use.metric!r} of task {use.task}{hint}; it has {', '.join(task.metrics)}"
    if use.filter is not None:
        yield "filter", f"task {use.task} draws pictures, which have no filters; leave filter out"
    if use.num_fewshot is not None:
        yield "num_fewshot", f"task {use.task} draws pictures, without examples; leave num_fewshot out"


def parse_picture_task(file: TaskFile) -> PictureTask:
    """Read a task's keys. Raises EvaluationError, which names the key, the value and the remedy."""
    config = file.config
    if "output_type" in config or "doc_to_text" in config:
        raise EvaluationError("it is a task of lm-eval, for models that write; see docs/image-tasks.md for pictures")
    if unknown := sorted(set(map(str, config)) - set(_KEYS)):
        hint = suggest_names(unknown[0], _KEYS)
        raise EvaluationError(f"{unknown[0]}: there is no such key{hint}; a task has {', '.join(_KEYS)}")
    if missing := [key for key in _REQUIRED if key not in config]:
        raise EvaluationError(f"{missing[0]}: it is missing; a task has {', '.join(_REQUIRED)}")
    judge = parse_judge("judge", config["judge"])
    report_judge = _report_judge(config.get("report_judge"), judge)
    data = _data_files(config["dataset"], file.path.parent)
    return PictureTask(
        name=str(config["task"]),
        test=data["test"],
        train=data.get("train"),
        prompt=_text("prompt", config.get("prompt", "prompt")),
        subject=_text("subject", config["subject"]) if config.get("subject") is not None else None,
        seeds=_seeds(config.get("seeds", 1)),
        sampler=parse_sampler(config["sampler"]),
        judge=judge,
        report_judge=report_judge,
        metrics=_metrics(config.get("metric_list"), [judge, *filter(None, [report_judge])]),
    )


def _data_files(value: object, folder: Path) -> dict[str, Path]:
    named = {"test": value} if isinstance(value, str) else value
    if not isinstance(named, Mapping) or "test" not in named or set(named) - set(_SETS):
        raise EvaluationError(f"dataset: got {value!r}: give a file, or {{train: …, test: …}}")
    found = {}
    for name, file in named.items():
        path = folder / str(file)
        if path.suffix not in (".jsonl", ".txt"):
            raise EvaluationError(f"dataset: got {file!r}: give a .jsonl file, or a .txt file with a prompt a line")
        if not path.is_file():
            raise EvaluationError(f"dataset: got {file!r}: there is no such file beside {folder.name}'s task files")
        found[str(name)] = path
    return found


def _text(key: str, value: object) -> RowText:
    if not isinstance(value, str) or not value:
        raise EvaluationError(f"{key}: got {value!r}: give a column, or a template such as '{{{{column}}}}'")
    return RowText(key, value)


def _seeds(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_SEEDS:
        raise EvaluationError(f"seeds: got {value!r}: give the number of pictures of a prompt, from 1 to {MOST_SEEDS}")
    return value


def _report_judge(value: object, judge: JudgeSettings) -> JudgeSettings | None:
    if value is None:
        if judge.repo is None:
            return None
        raise EvaluationError(
            f"report_judge: it is missing; a search may learn to please {judge.description}, and only another judge "
            "can see that"
        )
    found = parse_judge("report_judge", value)
    if found.repo is None or judge.repo is None:
        same = found.facts == judge.facts
    else:  # another commit of one model has learnt nothing else
        same = found.repo.repo.lower() == judge.repo.repo.lower()
    if same:
        raise EvaluationError(f"report_judge: got {found.description}, which is the search's judge; use another one")
    return found


def _metrics(value: object, judges: Sequence[JudgeSettings]) -> Mapping[str, bool]:
    if value is None:
        return {SCORE: True}
    if models := [judge for judge in judges if judge.repo is not None]:
        raise EvaluationError(f"metric_list: {models[0].description} gives {SCORE} alone; leave it out")
    rows = value if isinstance(value, list) and value else [value]
    found = {}
    for row in rows:
        metric, higher = (row.get("metric"), row.get("higher_is_better", True)) if isinstance(row, Mapping) else (0, 0)
        if not isinstance(metric, str) or not isinstance(higher, bool) or metric in found or ":" in metric:
            raise EvaluationError(f"metric_list: got {row!r}: give {{metric: name, higher_is_better: true}}, once each")
        found[metric] = higher
    return found

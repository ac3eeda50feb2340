"""Loads lm-eval's tasks with their data: from this machine, else from the Hub."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import datasets
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES
from huggingface_hub import constants, get_session
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.file_download import repo_folder_name
from lm_eval.api.registry import register_metric
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import TaskIndex
from PIL import UnidentifiedImageError
from PIL.Image import DecompressionBombError

from evaluation.answers.rouge import ROUGE_L_JA, rouge_l_ja
from evaluation.errors import EvaluationError, TaskDataError
from evaluation.harness.checks import check_language, check_task
from evaluation.harness.process_state import compiled_templates, offline, quiet, seeded
from evaluation.harness.task_files import find_task_files
from evaluation.harness.tasks import LoadedTask
from evaluation.picture import explain_picture
from evaluation.skills import Skill

PROBE_TIMEOUT = 5.0  # seconds to wait for a sign of life from the Hub


def _rouge_of_item(references: Sequence[str], predictions: Sequence[str]) -> float:
    """The metric as lm-eval calls it: with one answer and one reference."""
    return rouge_l_ja(predictions[0], references[0])


register_metric(metric=ROUGE_L_JA, higher_is_better=True, aggregation="mean")(_rouge_of_item)


def load_tasks(skills: Iterable[Skill], folders: Sequence[Path], *, pictures: bool = False) -> dict[str, LoadedTask]:
    """Load every task of the skills, by name, and check that it gives the metrics asked for.

    pictures: whether the tasks must have pictures; otherwise they must have none.

    Raises EvaluationError, a line for each task that cannot be used: unknown task, metric or filter (with near
    matches), a group of tasks, data that cannot be loaded, prompts that are all the same, a metric whose item values
    are not numbers or whose score is not their mean; or a language asked of a task that generates no text. It is a
    TaskDataError if nothing but data is missing.
    """
    skills = tuple(skills)
    uses = [use for skill in skills for use in skill.tasks]
    names = sorted({use.task for use in uses})
    loaded: dict[str, LoadedTask] = {}
    faults: list[EvaluationError] = []
    with quiet(), compiled_templates():
        catalogue = _open_catalogue(names, folders)
        for name in names:
            try:
                loaded[name] = _load(catalogue, name, folders)
                check_task(loaded[name], [use for use in uses if use.task == name], pictures=pictures)
            except EvaluationError as error:
                faults.append(error)
        if not faults:
            for skill in skills:
                check_language(skill, loaded)
    if faults:
        only_data = all(isinstance(fault, TaskDataError) for fault in faults)
        raise (TaskDataError if only_data else EvaluationError)("\n".join(map(str, faults)))
    return loaded


def _open_catalogue(names: Collection[str], folders: Sequence[Path]) -> TaskManager:
    """lm-eval's task manager with every name in its index. Raises EvaluationError, a line for each that is no task.

    Indexing all tasks that lm-eval ships takes 7 to 19 s, so that only those asked for are put into its index.
    """
    search = find_task_files(names, folders)
    if search.refused:
        raise EvaluationError("\n".join(search.refused[name] for name in sorted(search.refused)))
    catalogue = TaskManager(include_path=[str(folder) for folder in folders], include_defaults=False)
    for name, file in search.found.items():
        if name not in catalogue.task_index:
            TaskIndex.process_cfg(dict(file.config), file.path, catalogue.task_index)
    return catalogue


def _load(catalogue: TaskManager, name: str, folders: Sequence[Path]) -> LoadedTask:
    entry = catalogue.task_index[name]
    config = entry.cfg or {}

    def load() -> ConfigurableTask:
        local = find_local_files(config, entry.yaml_path.parent) if entry.yaml_path else {}
        if local:
            # As `TaskManager.load` does for a plain name, which takes no changes to the file's keys.
            return catalogue._factory.build(entry, overrides={"dataset_kwargs": local}, registry=catalogue.task_index)
        return catalogue.load([name])["tasks"][name]

    try:
        with seeded():
            task = _from_cache_or_hub(load)
    except Exception as error:  # YAML, data set, or the task's own code
        raise _explain(error, name, config) from error
    beside = entry.yaml_path.parent if entry.yaml_path else None
    own = [folder for folder in folders if beside and beside.resolve().is_relative_to(folder.resolve())]
    return LoadedTask(name, task, beside, (*own, *_data_folders(vars(task.config))))


def _data_folders(config: Mapping[str, object]) -> Iterator[Path]:
    """The folders in which a task's data set has its files: one that the task's file names, or `datasets`' own."""
    yield Path(datasets.config.DOWNLOADED_DATASETS_PATH)  # with what archives hold
    path, given = str(config.get("dataset_path")), config.get("dataset_kwargs")
    if _is_on_hub(config):
        local = Path(path)  # `datasets` takes a folder for a data set, too
        cached = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=path, repo_type="dataset"))
        yield local if local.is_dir() else cached
    elif isinstance(given, Mapping) and isinstance(folder := given.get("data_dir"), str):
        yield Path(folder)


def find_local_files(config: Mapping[str, object], folder: Path) -> dict[str, object]:
    """A task's dataset_kwargs with those of its relative data files that lie beside the task's file made absolute.

    Others are left to `datasets`, which looks them up in the working directory; {} if there is nothing to change.
    """
    given = config.get("dataset_kwargs")
    if not isinstance(given, dict) or not _is_packaged(config):
        return {}
    changed = {key: _beside(given[key], folder) for key in ("data_files", "data_dir") if key in given}
    return {**given, **changed} if any(given[key] != value for key, value in changed.items()) else {}


def _beside(value: object, folder: Path) -> object:
    """Names of files (one, a list, or by split) with those that a folder has made absolute; patterns too."""
    if isinstance(value, dict):
        return {key: _beside(inner, folder) for key, inner in value.items()}
    if isinstance(value, list):
        return [_beside(inner, folder) for inner in value]
    if isinstance(value, str) and "://" not in value and not Path(value).is_absolute() and any(folder.glob(value)):
        return str(folder / value)
    return value


def _from_cache_or_hub(load: Callable[[], ConfigurableTask]) -> ConfigurableTask:
    """Load from this machine, else from the Hub if it answers; if it does not, `datasets` would retry for 23 s."""
    try:
        with offline():
            return load()
    except (ConnectionError, ValueError):  # ValueError: another configuration of the data set is there
        if not _hub_answers():
            raise
        return load()


def _hub_answers() -> bool:
    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_TIMEOUT)
    except Exception:  # the session's own error types differ between versions of its HTTP library
        return False
    return True


def _explain(error: Exception, name: str, config: Mapping[str, object]) -> EvaluationError:
    """The error as one line with the remedy."""
    data_set = f"task {name}: its data set {describe_data_set(config)}"
    if isinstance(error, ConnectionError):
        return TaskDataError(
            f"{data_set} is not on this machine, and the Hub cannot be reached from here; run where it can, or use "
            "tasks with local data"
        )
    text = " ".join(str(error).split())
    if isinstance(error, UnidentifiedImageError | DecompressionBombError):
        return EvaluationError(f"task {name}: document 0 (counted from 0): {explain_picture(error)}")
    if isinstance(error, GatedRepoError) or "gated dataset" in text:
        return TaskDataError(f"{data_set} is gated; accept its terms on the Hub with the token's account")
    # A repo that this process has seen elsewhere may be missing only at its files.
    missing = (FileNotFoundError, RepositoryNotFoundError, RevisionNotFoundError)
    if isinstance(error, missing) and _is_on_hub(config):
        return TaskDataError(
            f"{data_set} is not on this machine, and {constants.ENDPOINT} does not have it; use a Hub that has it, "
            "or a task with local data"
        )
    if "Dataset scripts are no longer supported" in text:
        return TaskDataError(f"{data_set} is a script, which `datasets` does not run any more; use another task")
    if isinstance(error, FileNotFoundError):
        return TaskDataError(
            f"task {name}: it cannot be loaded: {text}; relative data_files are looked up beside the task's file, then "
            "in the working directory"
        )
    return EvaluationError(f"task {name}: it cannot be loaded: {type(error).__name__}: {text}")


def _is_packaged(config: Mapping[str, object]) -> bool:
    """Whether `datasets` reads the task's data from files by a format of its own (json, csv, parquet, …)."""
    return config.get("dataset_path") in _PACKAGED_DATASETS_MODULES


def _is_on_hub(config: Mapping[str, object]) -> bool:
    """Whether the task's data are a data set repo."""
    path = config.get("dataset_path")
    return isinstance(path, str) and not _is_packaged(config) and not config.get("custom_dataset")


def describe_data_set(config: Mapping[str, object]) -> str:
    """Path and name of a task's data set, from the task's config."""
    parts = [config.get("dataset_path"), config.get("dataset_name")]
    return " ".join(str(part) for part in parts if part) or "made by the task's own code"

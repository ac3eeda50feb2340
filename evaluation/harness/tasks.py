"""lm-eval's tasks: loaded and checked, with their documents, metrics and splits."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import constants, get_session
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager

from evaluation.errors import EvaluationError
from evaluation.harness.catalogue import open_catalogue, suggest_names
from evaluation.harness.process_state import compiled_templates, offline, quiet
from evaluation.items import item_id, subject_id, text_column
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Division, SplitSizes, TaskItems, divide_items

Doc = dict[str, object]
PROBE_TIMEOUT = 5.0  # seconds to wait for a sign of life from the Hub


class LoadedTask:
    """One lm-eval task with its documents by item id, and the metrics it gives for an answer."""

    def __init__(self, name: str, task: ConfigurableTask) -> None:
        self.name = name
        self.task = task

    @cached_property
    def test(self) -> Mapping[str, Doc]:
        """The documents that the task is scored on; equal ones once."""
        return _by_item(self.task.eval_docs)

    @cached_property
    def validation(self) -> Mapping[str, Doc]:
        """Validation documents, if the task is scored on a test set."""
        return _by_item(self.task.validation_docs() if self.task.has_test_docs() else None)

    @cached_property
    def training(self) -> Mapping[str, Doc]:
        """Training documents."""
        return _by_item(self.task.training_docs())

    @cached_property
    def examples(self) -> Mapping[str, Doc]:
        """The documents that few-shot examples are drawn from, in the task's order."""
        return _by_item(self.task.fewshot_docs())

    def subject(self, doc: Doc) -> str:
        """Id of what a document is about; tasks that word one question differently have the same."""
        return subject_id(doc, self._text_column)

    @cached_property
    def _text_column(self) -> str | None:
        """One of the data set's own columns; those that a task's code adds differ between variants of a task."""
        config, added = self.task.config, self.task.features
        split = config.test_split or config.validation_split  # None for a class that reads its data in its own way
        own = getattr(self.task.dataset[split], "column_names", added) if split else added
        return text_column(self.test.values(), [column for column in added if column in own] or added)

    def all_items(self) -> TaskItems:
        """The items to divide; training documents are read only if the validation documents are too few."""
        return TaskItems(self._subjects(self.test), map(self._subjects, self._other_sets()))

    def _subjects(self, docs: Mapping[str, Doc]) -> dict[str, str]:
        return {item: self.subject(doc) for item, doc in docs.items()}

    def _other_sets(self) -> Iterator[Mapping[str, Doc]]:
        yield self.validation
        yield self.training

    def document(self, item: str) -> Doc:
        """The document of an item id."""
        for docs in (self.test, self.validation):
            if item in docs:
                return docs[item]
        return self.training[item]

    def shots(self, use: SkillTask) -> int:
        """Number of few-shot examples for one use of the task."""
        own: int = self.task.config.num_fewshot or 0
        return own if use.num_fewshot is None else use.num_fewshot

    @property
    def filters(self) -> tuple[str, ...]:
        """Names of the task's output filters."""
        return tuple(ensemble.name for ensemble in self.task._filters)

    def filter(self, use: SkillTask) -> str:
        """The filter of one use of the task."""
        return use.filter if use.filter is not None else self.filters[0]

    @cached_property
    def probe(self) -> Mapping[str, Mapping[str, object]]:
        """filter → metric → value that the task gives an invented answer to its first document."""
        doc = next(iter(self.test.values()))
        try:
            prompt = self.task.fewshot_context(doc, num_fewshot=0, gen_prefix=self.task.doc_to_prefix(doc))
            made = self.task.construct_requests(doc=doc, ctx=prompt, metadata=(self.name, 0, 1))
            requests = made if isinstance(made, list) else [made]
            for request in requests:
                request.resps = [_invented_answer(request.request_type, self.task.doc_to_target(doc))]
            values = {}
            for ensemble in self.task._filters:
                ensemble.apply(requests)
                answers = [request.filtered_resps[ensemble.name] for request in requests]
                values[ensemble.name] = self.task.process_results(doc, answers)
        except Exception as error:  # the task's own code
            raise EvaluationError(
                f"task {self.name}: it cannot score its first document: {type(error).__name__}: {error}"
            ) from error
        return values

    def higher_is_better(self, metric: str) -> bool:
        """Whether higher values of a metric are better."""
        self.probe  # noqa: B018 - a task may learn its metrics' directions from its first result
        return bool(self.task.higher_is_better()[metric])


def load_tasks(skills: Iterable[Skill], folders: Sequence[Path]) -> dict[str, LoadedTask]:
    """Load every task of the skills, by name, and check that it gives the metrics asked for.

    Raises EvaluationError, naming the task: unknown task, metric or filter (with near matches), a group of
    tasks, data that cannot be loaded, a metric whose item values are not numbers or whose score is not
    their mean; or a language asked of a task that generates no text.
    """
    skills = tuple(skills)
    uses = [use for skill in skills for use in skill.tasks]
    names = sorted({use.task for use in uses})
    with quiet(), compiled_templates():
        catalogue = open_catalogue(names, folders)
        loaded = {name: LoadedTask(name, _load(catalogue, name)) for name in names}
        for use in uses:
            _check_use(use, loaded[use.task])
        for skill in skills:
            _check_language(skill, loaded)
    return loaded


def divide_tasks(tasks: Mapping[str, LoadedTask], seed: int, sizes: SplitSizes) -> dict[str, Division]:
    """Divide the items of all tasks of a watchlist, by name of the task.

    No task may search or show items that another one holds out, so `tasks` must be complete. Raises EvaluationError for
    a task with too few documents to have items in every split.
    """
    found = divide_items(seed, {name: loaded.all_items() for name, loaded in tasks.items()}, sizes)
    for name, division in found.items():
        for split, items in division.items.items():
            if not items:
                raise EvaluationError(
                    f"task {name}: its {len(tasks[name].test)} documents, without those that other tasks "
                    f"use in other splits, leave none for the {split} split; use a task with more"
                )
    return found


def _by_item(docs: Iterable[Doc] | None) -> dict[str, Doc]:
    found: dict[str, Doc] = {}
    for doc in docs or ():
        found.setdefault(item_id(doc), doc)
    return found


def _invented_answer(kind: str, target: object) -> object:
    if kind == "loglikelihood":
        return (-1.0, False)
    if kind == "loglikelihood_rolling":
        return -1.0
    return str(target[0] if isinstance(target, list) and target else target)


def _load(catalogue: TaskManager, name: str) -> ConfigurableTask:
    config = catalogue.task_index[name].cfg or {}

    def load() -> object:
        return catalogue.load([name])["tasks"][name]

    try:
        task = _from_cache_or_hub(load)
    except ConnectionError as error:
        raise EvaluationError(
            f"task {name}: its data set {describe_data_set(config)} is not on this machine, and the Hub cannot be "
            "reached from here; run where it can, or use tasks with local data"
        ) from error
    except Exception as error:  # YAML, data set, or the task's own code
        raise EvaluationError(f"task {name}: it cannot be loaded: {type(error).__name__}: {error}") from error
    _refuse_kind(name, task)
    return task


def _from_cache_or_hub(load: Callable[[], object]) -> object:
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


def describe_data_set(config: Mapping[str, object]) -> str:
    """Path and name of a task's data set, from the task's config."""
    parts = [config.get("dataset_path"), config.get("dataset_name")]
    return " ".join(str(part) for part in parts if part) or "made by the task's own code"


def _refuse_kind(name: str, task: Any) -> None:
    """Raise EvaluationError for a task that cannot be scored here at all."""
    if not isinstance(task, ConfigurableTask):
        raise EvaluationError(f"task {name}: it is written as a plain Python class; use a task with a YAML file")
    if getattr(task, "UNSAFE_CODE", False):
        raise EvaluationError(f"task {name}: it runs code that the model wrote, which is not allowed here")
    if getattr(task, "MULTIMODAL", False):
        raise EvaluationError(f"task {name}: it needs images or sound; use a text task")
    if (task.config.generation_kwargs or {}).get("do_sample"):
        raise EvaluationError(f"task {name}: do_sample is true, so no two scores agree; use a greedy one")


def _check_use(use: SkillTask, loaded: LoadedTask) -> None:
    """Raise EvaluationError if the task does not give the number asked for."""
    if use.filter is None and len(loaded.filters) > 1:
        raise EvaluationError(f"task {use.task}: set filter to one of {', '.join(loaded.filters)}")
    if use.filter is not None and use.filter not in loaded.filters:
        raise EvaluationError(
            f"task {use.task}: unknown filter {use.filter!r}{suggest_names(use.filter, loaded.filters)}; "
            f"it has {', '.join(loaded.filters)}"
        )
    own_shots = loaded.task.config.num_fewshot
    if own_shots == 0 and use.num_fewshot:
        raise EvaluationError(
            f"task {use.task}: num_fewshot is {use.num_fewshot}, but the task fixes it at 0; leave it out"
        )
    _check_metric(use, loaded)


def _check_language(skill: Skill, tasks: Mapping[str, LoadedTask]) -> None:
    """Raise EvaluationError if a skill requires a language of a task without generated answers."""
    for use in skill.tasks if skill.language is not None else ():
        kind = tasks[use.task].task.config.output_type
        if kind != "generate_until":
            raise EvaluationError(
                f"skill {skill.name}: language is {skill.language}, but task {use.task} generates no text ({kind}); "
                "leave language out, or use a task that generates its answers"
            )
        if not tasks[use.task].higher_is_better(use.metric):
            raise EvaluationError(
                f"skill {skill.name}: language is {skill.language}, but {use.metric} of task {use.task} is better when "
                "lower, and answers in other languages count 0; use a metric where higher is better"
            )


def _check_metric(use: SkillTask, loaded: LoadedTask) -> None:
    values = loaded.probe[loaded.filter(use)]
    usable = [metric for metric in values if _refusal(loaded, metric, values) is None]
    if use.metric not in values:
        raise EvaluationError(
            f"task {use.task}: unknown metric {use.metric!r}{suggest_names(use.metric, values)}; {_advice(usable)}"
        )
    reason = _refusal(loaded, use.metric, values)
    if reason is not None:
        raise EvaluationError(f"task {use.task}: metric {use.metric} {reason}; {_advice(usable)}")


def _advice(usable: Sequence[str]) -> str:
    if usable:
        return f"use {' or '.join(usable)}"
    return "no metric of this task can be used; use a task with acc or exact_match"


def _refusal(loaded: LoadedTask, metric: str, values: Mapping[str, object]) -> str | None:
    """The reason why the mean of a metric's item values is not the metric's score, or None."""
    value = values[metric]
    if not isinstance(value, numbers.Real | np.bool_):
        return f"gives no number per item but a {type(value).__name__}"
    if metric not in loaded.task.higher_is_better():
        return "does not declare higher_is_better"
    if not _is_mean(loaded.task.aggregation().get(metric)):
        return "is not a mean over items"
    return None


def _is_mean(aggregate: Callable[[list[float]], float] | None) -> bool:
    """Whether a function computes the mean: tried on numbers, because a task may have a function of its own for it."""
    if aggregate is None:
        return False
    sample = [0.0, 1.0, 1.0, 0.25, 0.0]
    try:
        return math.isclose(float(aggregate(sample)), sum(sample) / len(sample))
    except Exception:  # the task's own code, made for other values
        return False

"""lm-eval tasks as this package uses them: loaded, checked, with their documents and what they measure."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets.config
import numpy as np
from huggingface_hub import constants, get_session
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager

from evaluation.errors import EvaluationError
from evaluation.harness.catalogue import near, open_catalogue
from evaluation.harness.lm import compiled_templates, quiet
from evaluation.items import item_id, subject, telling_column
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Division, Material, Split, SplitSizes, divide

Doc = dict[str, Any]
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
        """Validation documents beside the test set."""
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
        """What a document is about: the same in every task that asks of it in whatever words."""
        return subject(doc, self._telling)

    @cached_property
    def _telling(self) -> str | None:
        """Chosen among the data set's own columns: those that a task's code adds differ between its variants."""
        config, added = self.task.config, self.task.features
        split = config.test_split or config.validation_split  # None for a class that reads its data in its own way
        own = getattr(self.task.dataset[split], "column_names", added) if split else added
        return telling_column(self.test.values(), [column for column in added if column in own] or added)

    def material(self) -> Material:
        """What there is to divide; training documents are read only if the validation documents do not do."""
        return Material(self._subjects(self.test), map(self._subjects, self._own()))

    def _subjects(self, docs: Mapping[str, Doc]) -> dict[str, str]:
        return {item: self.subject(doc) for item, doc in docs.items()}

    def _own(self) -> Iterator[Mapping[str, Doc]]:
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
        """The filter that one use of the task means."""
        return use.filter if use.filter is not None else self.filters[0]

    @cached_property
    def probe(self) -> Mapping[str, Mapping[str, Any]]:
        """filter -> metric -> value that the task gives its first document for an answer made up here."""
        doc = next(iter(self.test.values()))
        try:
            prompt = self.task.fewshot_context(doc, num_fewshot=0, gen_prefix=self.task.doc_to_prefix(doc))
            made = self.task.construct_requests(doc=doc, ctx=prompt, metadata=(self.name, 0, 1))
            requests = made if isinstance(made, list) else [made]
            for request in requests:
                request.resps = [_made_up(request.request_type, self.task.doc_to_target(doc))]
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
        """The metric's direction."""
        self.probe  # noqa: B018 - a task may learn its metrics' directions from its first result
        return bool(self.task.higher_is_better()[metric])


def load_tasks(skills: Iterable[Skill], folders: Sequence[Path]) -> dict[str, LoadedTask]:
    """Load every task of the skills, by name, and check that it gives the metrics asked for.

    Raises EvaluationError, naming the task: unknown task, metric or filter (with near matches), a group of
    tasks, data that cannot be loaded, a metric whose item values are no numbers or whose score is not
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


def directions(skills: Iterable[Skill], tasks: Mapping[str, LoadedTask]) -> dict[str, bool]:
    """`SkillTask.key` -> whether higher is better, for `skill_scores`."""
    uses = [use for skill in skills for use in skill.tasks]
    return {use.key: tasks[use.task].higher_is_better(use.metric) for use in uses}


def divisions(tasks: Mapping[str, LoadedTask], seed: int, sizes: SplitSizes) -> dict[str, Division]:
    """How the items of each task are divided, by name.

    `tasks` are all that the watchlist names: what one of them holds out, no other may search or show. Raises
    EvaluationError for a task with too few documents to have items in every split.
    """
    found = divide(seed, {name: loaded.material() for name, loaded in tasks.items()}, sizes)
    for name, division in found.items():
        for split, items in division.items.items():
            if not items:
                raise EvaluationError(
                    f"task {name}: its {len(tasks[name].test)} documents, less those that other tasks use otherwise, "
                    f"leave none for the {split} split; use a task with more"
                )
    return found


def example_prompt(skills: Sequence[Skill], tasks: Mapping[str, LoadedTask], seed: int, sizes: SplitSizes) -> str:
    """One question of the search split, the first task's, for showing how a model is asked.

    It is the task's own text alone: no examples before it, no chat template around it.
    """
    name = skills[0].tasks[0].task
    with quiet(), compiled_templates():
        doc = tasks[name].document(divisions(tasks, seed, sizes)[name].items[Split.SEARCH][0])
        text = tasks[name].task.doc_to_text(doc)
        # A task whose choices differ before the answer names the right one's number instead of a text.
        return text if isinstance(text, str) else str(tasks[name].task.doc_to_choice(doc)[text])


@dataclass(frozen=True)
class TaskDescription:
    """What a plan or a card tells about one use of a task."""

    skill: str
    key: str
    task: str
    metric: str
    filter: str
    higher_is_better: bool
    num_fewshot: int
    output_type: str
    dataset: str
    items: Mapping[Split, int]
    own_search: bool  # the search items are the task's own validation or training documents
    language: str | None  # that answers must be in to count


def describe(
    skills: Iterable[Skill], tasks: Mapping[str, LoadedTask], seed: int, sizes: SplitSizes
) -> tuple[TaskDescription, ...]:
    """The facts of every use of a task, in the order of the skills. Raises EvaluationError as `divisions` does."""
    with quiet():  # a task may prepare its documents only now
        divided = divisions(tasks, seed, sizes)
        return tuple(_facts(skill, use, tasks[use.task], divided[use.task]) for skill in skills for use in skill.tasks)


def _facts(skill: Skill, use: SkillTask, loaded: LoadedTask, division: Division) -> TaskDescription:
    config = loaded.task.config
    return TaskDescription(
        skill=skill.name,
        key=use.key,
        task=use.task,
        metric=use.metric,
        filter=loaded.filter(use),
        higher_is_better=loaded.higher_is_better(use.metric),
        num_fewshot=loaded.shots(use),
        output_type=config.output_type,
        dataset=_data_set(vars(config)),
        items={split: len(items) for split, items in division.items.items()},
        own_search=division.own_search,
        language=skill.language,
    )


def _by_item(docs: Iterable[Doc] | None) -> dict[str, Doc]:
    found: dict[str, Doc] = {}
    for doc in docs or ():
        found.setdefault(item_id(doc), doc)
    return found


def _made_up(kind: str, target: Any) -> Any:
    if kind == "loglikelihood":
        return (-1.0, False)
    if kind == "loglikelihood_rolling":
        return -1.0
    return str(target[0] if isinstance(target, list) and target else target)


def _load(catalogue: TaskManager, name: str) -> ConfigurableTask:
    config = catalogue.task_index[name].cfg or {}

    def load() -> Any:
        return catalogue.load([name])["tasks"][name]

    try:
        task = _from_cache_or_hub(load)
    except ConnectionError as error:
        raise EvaluationError(
            f"task {name}: its data set {_data_set(config)} is not on this machine, and the Hub cannot be "
            "reached from here; run where it can, or use tasks with local data"
        ) from error
    except Exception as error:  # YAML, data set, or the task's own code
        raise EvaluationError(f"task {name}: it cannot be loaded: {type(error).__name__}: {error}") from error
    _refuse_kind(name, task)
    return task


def _from_cache_or_hub(load: Callable[[], Any]) -> Any:
    """Load from this machine, else from the Hub if it answers; if not, `datasets` would retry for 23 s."""
    try:
        with _offline():
            return load()
    except (ConnectionError, ValueError):  # ValueError: another configuration of the data set is there
        if not _hub_answers():
            raise
        return load()


@contextmanager
def _offline() -> Iterator[None]:
    """Keeps `datasets` off the network while the block runs; for the whole process, so keep it short."""
    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def _hub_answers() -> bool:
    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_TIMEOUT)
    except Exception:  # the session's own error types differ between versions of its HTTP library
        return False
    return True


def _data_set(config: Mapping[str, Any]) -> str:
    parts = [config.get("dataset_path"), config.get("dataset_name")]
    return " ".join(str(part) for part in parts if part) or "made by the task's own code"


def _refuse_kind(name: str, task: Any) -> None:
    """Tasks that cannot be scored here at all."""
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
            f"task {use.task}: unknown filter {use.filter!r}{near(use.filter, loaded.filters)}; "
            f"it has {', '.join(loaded.filters)}"
        )
    own_shots = loaded.task.config.num_fewshot
    if own_shots == 0 and use.num_fewshot:
        raise EvaluationError(
            f"task {use.task}: num_fewshot is {use.num_fewshot}, but the task fixes it at 0; leave it out"
        )
    _check_metric(use, loaded)


def _check_language(skill: Skill, tasks: Mapping[str, LoadedTask]) -> None:
    """Raise EvaluationError if a skill asks for a language where there is no answer to tell it from."""
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
            f"task {use.task}: unknown metric {use.metric!r}{near(use.metric, values)}; {_instead(usable)}"
        )
    reason = _refusal(loaded, use.metric, values)
    if reason is not None:
        raise EvaluationError(f"task {use.task}: metric {use.metric} {reason}; {_instead(usable)}")


def _instead(usable: Sequence[str]) -> str:
    if usable:
        return f"use {' or '.join(usable)}"
    return "no metric of this task can be used; use a task with acc or exact_match"


def _refusal(loaded: LoadedTask, metric: str, values: Mapping[str, Any]) -> str | None:
    """Why the mean of a metric's item values is not the metric's score, or None."""
    value = values[metric]
    if not isinstance(value, numbers.Real | np.bool_):
        return f"gives no number per item but a {type(value).__name__}"
    if metric not in loaded.task.higher_is_better():
        return "does not declare higher_is_better"
    if not _is_mean(loaded.task.aggregation().get(metric)):
        return "is no mean over items"
    return None


def _is_mean(aggregate: Callable[[list[float]], Any] | None) -> bool:
    """Tried on numbers, because a task may bring its own mean."""
    if aggregate is None:
        return False
    sample = [0.0, 1.0, 1.0, 0.25, 0.0]
    try:
        return math.isclose(float(aggregate(sample)), sum(sample) / len(sample))
    except Exception:  # the task's own code, made for other values
        return False

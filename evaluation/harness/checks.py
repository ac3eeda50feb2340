"""Checks of loaded tasks: whether a skill's metric, filter and language can be had of them."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.utils import normalize_gen_kwargs

from evaluation.answers.rouge import ROUGE_L_JA
from evaluation.errors import EvaluationError
from evaluation.eval_set import PLACE
from evaluation.harness.task_files import find_use_faults, generates_no_text, suggest_names
from evaluation.harness.tasks import LoadedTask
from evaluation.skills import Skill, SkillTask


def check_task(loaded: LoadedTask, uses: Iterable[SkillTask], *, pictures: bool) -> None:
    """Raise EvaluationError for a task that cannot be scored here, or that does not give what its uses ask for.

    pictures: whether it must have pictures.
    """
    _refuse_kind(loaded.name, loaded.task)
    for use in uses:
        for _, reason in find_use_faults(use, vars(loaded.task.config), pictures=pictures):
            raise EvaluationError(reason)
        _check_metric(use, loaded)
    _check_prompts(loaded)
    _check_places(loaded)


def check_language(skill: Skill, tasks: Mapping[str, LoadedTask]) -> None:
    """Raise EvaluationError if a skill requires a language of a task without generated answers."""
    for use in skill.tasks if skill.language is not None else ():
        kind = tasks[use.task].task.config.output_type
        if kind != "generate_until":
            raise EvaluationError(
                f"skill {skill.name}: language is {skill.language}: {generates_no_text(use.task, kind)}"
            )
        if not tasks[use.task].higher_is_better(use.metric):
            raise EvaluationError(
                f"skill {skill.name}: language is {skill.language}, but {use.metric} of task {use.task} is better when "
                "lower, and answers in other languages count 0; use a metric where higher is better"
            )


def _refuse_kind(name: str, task: object) -> None:
    if not isinstance(task, ConfigurableTask):
        raise EvaluationError(f"task {name}: it is written as a plain Python class; use a task with a YAML file")
    if getattr(task, "UNSAFE_CODE", False):
        raise EvaluationError(f"task {name}: it runs code that the model wrote, which is not allowed here")
    given = task.config.generation_kwargs or {}
    if normalize_gen_kwargs(given).get("do_sample"):
        key = "do_sample" if given.get("do_sample") else "temperature"
        raise EvaluationError(
            f"task {name}: generation_kwargs.{key}: got {given[key]}: it samples, so no two scores agree; "
            "write do_sample: false"
        )


def _check_prompts(loaded: LoadedTask) -> None:
    """Raise EvaluationError if all prompts are the same, as with a template that names no column.

    One question may be asked of all documents, as long as their pictures, or the choices, differ.
    """
    task, items = loaded.task, iter(loaded.test)
    if task.config.output_type == "loglikelihood_rolling":  # has no prompts
        return
    first = _shown(loaded, next(items))
    if first[0] == "" or len(loaded.test) == 1 or any(_shown(loaded, item) != first for item in items):
        return
    raise EvaluationError(
        f"task {loaded.name}: doc_to_text: every prompt is {str(first[0])[:60]!r}; name a column, such as "
        f"{{{{{task.features[0]}}}}}"
    )


def _check_places(loaded: LoadedTask) -> None:
    """Raise EvaluationError for a document with more or fewer pictures than its prompt has places for."""
    for item in loaded.test if loaded.has_pictures else ():
        prompt, given = loaded.prompt(loaded.test[item]), len(loaded.picture_digests(item))
        if (places := prompt.count(PLACE)) != given:
            raise EvaluationError(
                f"task {loaded.name}: the prompt {prompt[:60]!r} has {places} places for pictures, and doc_to_image "
                f"gives {given}; write {PLACE} in doc_to_text once for each"
            )


def _shown(loaded: LoadedTask, item: str) -> tuple[object, ...]:
    """What a prompt shows of a document: its text, its pictures and, in a multiple choice, the choices."""
    task, doc = loaded.task, loaded.test[item]
    choices = task.doc_to_choice(doc) if task.config.output_type == "multiple_choice" else None
    return task.doc_to_text(doc), choices, loaded.picture_digests(item)


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
    if metric == ROUGE_L_JA and loaded.task.multiple_target:
        return "compares with one answer, and doc_to_target gives several"  # lm-eval makes 1 of anything above 0
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

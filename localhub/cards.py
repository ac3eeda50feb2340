"""Model cards: the front matter of a README, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from math import isfinite
from typing import Any

import yaml

from localhub.names import is_name
from localhub.vocabulary import LICENCES, RELATIONS, SPECIAL_LANGUAGES, TASKS

FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)(?:\r?\n)?^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
LARGEST_CARD_CHARACTERS = 400_000
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


@dataclass(frozen=True)
class Findings:
    """What is to be said of a card: `errors` keep it from being committed, `warnings` do not."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class BadCardError(ValueError):
    """Front matter that cannot be read."""


def split(text: str) -> tuple[dict[str, Any], str]:
    """Front matter and body of a card; raises BadCardError if the first is no YAML mapping."""
    match = FRONT_MATTER.match(text)
    if match is None:
        return {}, text
    try:
        data = yaml.safe_load(match[1])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        where = f" at line {place.line + 2}" if place else ""
        raise BadCardError(f"YAML metadata cannot be parsed{where}: {getattr(error, 'problem', error)}") from None
    if data is None:
        return {}, text[match.end() :]
    if not isinstance(data, dict):
        raise BadCardError(f"YAML metadata must be a mapping, not {_kind(data)}")
    return _plain(data), text[match.end() :]


def validate(text: str) -> Findings:
    """Check a card as the Hub does before it takes one."""
    if len(text) > LARGEST_CARD_CHARACTERS:
        return Findings(errors=(f"{len(text)} characters; at most {LARGEST_CARD_CHARACTERS} are taken",))
    try:
        data, _ = split(text)
    except BadCardError as error:
        return Findings(errors=(str(error),))
    if not data:
        return Findings(warnings=("empty or missing yaml metadata in repo card",))
    errors = [f'"{key}" {problem}' for key, check in _CHECKS.items() if key in data for problem in check(data[key])]
    return Findings(tuple(errors), tuple(_doubts(data)))


def _doubts(data: Mapping[str, Any]) -> Iterator[str]:
    pipeline = data.get("pipeline_tag")
    if isinstance(pipeline, str) and pipeline not in TASKS:
        yield f'"pipeline_tag" {pipeline!r} is not in the list of known tasks'
    if data.get("license") == "other" and not data.get("license_name"):
        yield '"license" is "other": say which with "license_name" and "license_link"'


def _strings(value: Any) -> Iterator[str]:
    items = value if isinstance(value, list) else [value]
    for item in items:
        if not isinstance(item, str):
            yield f"must be a string or a list of strings, not {_kind(item)}"


def _string(value: Any) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"must be a string, not {_kind(value)}"


def _list_of_strings(value: Any) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"must be an array, not {_kind(value)}"
        return
    yield from _strings(value)


def _known(names: Sequence[str] | frozenset[str], shown: str) -> Callable[[Any], Iterator[str]]:
    def check(value: Any) -> Iterator[str]:
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, str) or item not in names:
                yield f"must be one of {shown}, not {item!r}"

    return check


def _languages(value: Any) -> Iterator[str]:
    for item in value if isinstance(value, list) else [value]:
        if item is False:
            yield "with value false is not valid: YAML reads an unquoted no as false, so write 'no' in quotes"
        elif not isinstance(item, str) or not (_LANGUAGE.fullmatch(item) or item in SPECIAL_LANGUAGES):
            yield f"with value {item!r} is not valid: use ISO 639 codes in lower case, or 'multilingual'"


def _models(value: Any) -> Iterator[str]:
    for item in value if isinstance(value, list) else [value]:
        parts = item.split("/") if isinstance(item, str) else []
        if not 1 <= len(parts) <= 2 or not all(is_name(part) for part in parts):
            yield f"with value {item!r} is not valid: use a model id, owner/name"


def _model_index(value: Any) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"must be an array, not {_kind(value)}"
        return
    for i, model in enumerate(value):
        place = f"[{i}]"
        yield from _missing(model, place, ("name",))
        results = model.get("results") if isinstance(model, dict) else None
        if not isinstance(results, list):
            yield f"{place}.results must be an array, not {_kind(results)}"
            continue
        for j, result in enumerate(results):
            yield from _result(result, f"{place}.results[{j}]")


def _result(result: Any, place: str) -> Iterator[str]:
    if not isinstance(result, dict):
        yield f"{place} must be a mapping, not {_kind(result)}"
        return
    yield from _missing(result.get("task"), f"{place}.task", ("type",))
    yield from _missing(result.get("dataset"), f"{place}.dataset", ("name", "type"))
    metrics = result.get("metrics")
    if not isinstance(metrics, list) or not metrics:
        yield f"{place}.metrics must be an array with at least one metric"
        return
    for k, metric in enumerate(metrics):
        yield from _missing(metric, f"{place}.metrics[{k}]", ("type",))
        if isinstance(metric, dict) and metric.get("value") is None:
            yield f"{place}.metrics[{k}].value is required"


def _missing(value: Any, place: str, keys: Sequence[str]) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place} must be a mapping, not {_kind(value)}"
        return
    for key in keys:
        if not isinstance(value.get(key), str) or not value[key]:
            yield f"{place}.{key} is required and must be a string"


_CHECKS: Mapping[str, Callable[[Any], Iterator[str]]] = {
    "license": _known(LICENCES, "the Hub's licence ids (apache-2.0, mit, ..., other)"),
    "license_name": _string,
    "license_link": _string,
    "language": _languages,
    "tags": _list_of_strings,
    "datasets": _strings,
    "metrics": _strings,
    "library_name": _string,
    "pipeline_tag": _string,
    "base_model": _models,
    "base_model_relation": _known(RELATIONS, ", ".join(RELATIONS)),
    "model-index": _model_index,
}


def _plain(value: Any) -> Any:
    """The value with keys and dates as text, so that it is JSON."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return value


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "a string", bool: "a truth value", type(None): "nothing"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)

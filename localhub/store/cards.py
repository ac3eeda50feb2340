"""Model cards: the front matter of a README, and what the Hub finds wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from math import isfinite
from typing import TypeAlias

import yaml
from pydantic import JsonValue

from localhub.names import is_name

FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)(?:\r?\n)?^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
LARGEST_CARD_CHARACTERS = 400_000
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


def _split_words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The Hub's own lists.
LICENCES = _split_words(
    """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0
    cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0
    cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl
    gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr
    mpl-2.0 odc-by odbl openmdw-1.0 openmdw-1.1 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr
    deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4
    grok2-community gemma unknown other
    """
)
TASKS = _split_words(
    """
    any-to-any audio-classification audio-text-to-text audio-to-audio automatic-speech-recognition depth-estimation
    document-question-answering feature-extraction fill-mask graph-ml image-classification image-feature-extraction
    image-segmentation image-text-to-image image-text-to-text image-text-to-video image-to-3d image-to-image
    image-to-text image-to-video keypoint-detection mask-generation multiple-choice object-detection other
    question-answering reinforcement-learning robotics sentence-similarity summarization table-question-answering
    table-to-text tabular-classification tabular-regression tabular-to-text text-classification text-generation
    text-ranking text-retrieval text-to-3d text-to-audio text-to-image text-to-speech text-to-video
    time-series-forecasting token-classification translation unconditional-image-generation video-classification
    video-text-to-text video-to-video visual-document-retrieval visual-question-answering voice-activity-detection
    zero-shot-classification zero-shot-image-classification zero-shot-object-detection
    """
)
RELATIONS = ("adapter", "finetune", "merge", "quantized")
SPECIAL_LANGUAGES = frozenset({"code", "multilingual", "other"})


@dataclass(frozen=True)
class CardFindings:
    """What is wrong with a card: `errors` prevent a commit, `warnings` do not."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class BadCardError(ValueError):
    """The front matter cannot be read."""


def split_card(text: str) -> tuple[dict[str, JsonValue], str]:
    """Front matter and body of a card; raises BadCardError if the front matter is not a YAML mapping."""
    match = FRONT_MATTER.match(text)
    if match is None:
        return {}, text
    try:
        card = _to_json(yaml.safe_load(match[1]))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        where = f" at line {place.line + 2}" if place else ""
        raise BadCardError(f"YAML metadata cannot be parsed{where}: {getattr(error, 'problem', error)}") from None
    if card is not None and not isinstance(card, dict):
        raise BadCardError(f"YAML metadata must be a mapping, not {_name_type(card)}")
    return card or {}, text[match.end() :]


def validate_card(text: str) -> CardFindings:
    """Check a card as the Hub does before it accepts a commit."""
    if len(text) > LARGEST_CARD_CHARACTERS:
        return CardFindings(errors=(f"{len(text)} characters; the limit is {LARGEST_CARD_CHARACTERS}",))
    try:
        card, _ = split_card(text)
    except BadCardError as error:
        return CardFindings(errors=(str(error),))
    if not card:
        return CardFindings(warnings=("empty or missing yaml metadata in repo card",))
    errors = [f'"{key}" {problem}' for key, check in _CHECKS.items() if key in card for problem in check(card[key])]
    return CardFindings(tuple(errors), tuple(_list_warnings(card)))


def _list_warnings(card: Mapping[str, JsonValue]) -> Iterator[str]:
    pipeline = card.get("pipeline_tag")
    if isinstance(pipeline, str) and pipeline not in TASKS:
        yield f'"pipeline_tag" {pipeline!r} is not in the list of known tasks'
    if card.get("license") == "other" and not card.get("license_name"):
        yield '"license" is "other": say which with "license_name" and "license_link"'


# A check yields what is wrong with a value, to be read after the name of its key.
Check = Callable[[JsonValue], Iterator[str]]


def _check_each(test: Callable[[JsonValue], object], problem: str) -> Check:
    """A check of a value, or of each item of a list; `problem` may name the item's {value} and {type}."""

    def check(value: JsonValue) -> Iterator[str]:
        for item in value if isinstance(value, list) else [value]:
            if not test(item):
                yield problem.format(value=repr(item), type=_name_type(item))

    return check


def _is_licence(value: JsonValue) -> bool:
    return isinstance(value, str) and value in LICENCES


def _is_model(value: JsonValue) -> bool:
    parts = value.split("/") if isinstance(value, str) else []
    return 1 <= len(parts) <= 2 and all(is_name(part) for part in parts)


def _check_string(value: JsonValue) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"must be a string, not {_name_type(value)}"


def _check_languages(value: JsonValue) -> Iterator[str]:
    for item in value if isinstance(value, list) else [value]:
        if item is False:
            yield "with value false is not valid: YAML reads an unquoted no as false, so write 'no' in quotes"
        elif not isinstance(item, str) or not (_LANGUAGE.fullmatch(item) or item in SPECIAL_LANGUAGES):
            yield f"with value {item!r} is not valid: use ISO 639 codes in lower case, or 'multilingual'"


def _check_tags(value: JsonValue) -> Iterator[str]:
    if isinstance(value, list):
        yield from _check_strings(value)
    else:
        yield f"must be an array, not {_name_type(value)}"


Schema: TypeAlias = "type | list[Schema] | tuple[Schema] | dict[str, Schema]"
# A list may be empty, a tuple stands for a list that may not; `object` is any value but none.
_METRIC: Schema = {"type": str, "value": object}
_RESULT: Schema = {"task": {"type": str}, "dataset": {"name": str, "type": str}, "metrics": (_METRIC,)}
_MODEL_INDEX: Schema = [{"name": str, "results": [_RESULT]}]


def _check_schema(schema: Schema, value: JsonValue, place: str = "") -> Iterator[str]:
    """A check of nested values; `place` is where the value is, below the key."""
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            yield f"{place} must be a mapping, not {_name_type(value)}"
            return
        for key, inner in schema.items():
            yield from _check_schema(inner, value.get(key), f"{place}.{key}")
    elif isinstance(schema, list | tuple):
        if not isinstance(value, list):
            yield f"{place} must be an array, not {_name_type(value)}".strip()
        elif isinstance(schema, tuple) and not value:
            yield f"{place} must have at least one item"
        else:
            for i, item in enumerate(value):
                yield from _check_schema(schema[0], item, f"{place}[{i}]")
    elif value is None or (schema is str and not (isinstance(value, str) and value)):
        yield f"{place} is required{' and must be a string' if schema is str else ''}"


def _check_model_index(value: JsonValue) -> Iterator[str]:
    """The results' places and types; a metric's args are a string, or strings by name, in the Hub's published types."""
    faults = list(_check_schema(_MODEL_INDEX, value))
    yield from faults
    if faults or not isinstance(value, list):
        return
    for i, model in enumerate(value):
        for j, result in enumerate(_items(model, "results")):
            for k, metric in enumerate(_items(result, "metrics")):
                place = f"[{i}].results[{j}].metrics[{k}].args"
                yield from (f"{place}{fault}" for fault in _list_odd_args(metric))


def _items(value: JsonValue, key: str) -> list[JsonValue]:
    inner = value.get(key) if isinstance(value, dict) else None
    return inner if isinstance(inner, list) else []


def _list_odd_args(metric: JsonValue) -> Iterator[str]:
    args = metric.get("args") if isinstance(metric, dict) else None
    for name, value in args.items() if isinstance(args, dict) else ():
        if not isinstance(value, str):
            yield f".{name} must be a string, not {_name_type(value)}"
    if not isinstance(args, str | dict | None):
        yield f" must be a string or a mapping, not {_name_type(args)}"


_check_strings = _check_each(lambda value: isinstance(value, str), "must be a string or a list of strings, not {type}")
_CHECKS: Mapping[str, Check] = {
    "license": _check_each(
        _is_licence, "must be one of the Hub's licence ids (apache-2.0, mit, ..., other), not {value}"
    ),
    "license_name": _check_string,
    "license_link": _check_string,
    "language": _check_languages,
    "tags": _check_tags,
    "datasets": _check_strings,
    "metrics": _check_strings,
    "library_name": _check_string,
    "pipeline_tag": _check_string,
    "base_model": _check_each(_is_model, "with value {value} is not valid: use a model id, owner/name"),
    "base_model_relation": _check_each(RELATIONS.__contains__, f"must be one of {', '.join(RELATIONS)}, not {{value}}"),
    "model-index": _check_model_index,
}


def _to_json(value: object) -> JsonValue:
    """What YAML gave, as JSON can hold it: keys, dates, bytes and infinities become text."""
    if isinstance(value, dict):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_to_json(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and isfinite(value)):
        return value
    return str(value)


def _name_type(value: JsonValue) -> str:
    names = {dict: "a mapping", list: "a list", str: "a string", bool: "a truth value", type(None): "nothing"}
    return names.get(type(value), "a number")

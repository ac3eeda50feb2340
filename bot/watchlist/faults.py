"""Turns pydantic's errors into lines for a person: file, line, key, value, what is wrong, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from bot.watchlist.contradictions import Contradiction
from bot.watchlist.yaml_file import ABSENT, YamlFile, child
from merging.mergekit.config import KeyPath, dotted

_PLAIN_REMEDIES = {
    "string_type": ("is not text", "put it in quotes"),
    "int_type": ("is not a whole number", "write one without quotes"),
    "int_from_float": ("is not a whole number", "write one without a decimal point"),
    "float_type": ("is not a number", "write one without quotes"),
    "finite_number": ("is not finite", "write an ordinary number"),
    "bool_type": ("is neither true nor false", "write true or false without quotes"),
    "tuple_type": ("is not a list", "write [a, b] or one `- item` a line"),
    "model_type": ("is not a group of keys", "write `key: value` lines below it"),
    "model_attributes_type": ("is not a group of keys", "write `key: value` lines below it"),
    "dict_type": ("is not a group of keys", "write `key: value` lines below it"),
}
"""pydantic's error type → what is wrong, what to do."""

_MOST_SHOWN = 60
"""Characters of a value in an error."""

_BOUNDS = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
_BOUND_NAMES = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}


def describe_faults(error: ValidationError, file: YamlFile, model: type[BaseModel]) -> str:
    """All faults that pydantic found, a line each, in the file's order."""
    faults = []
    for detail in error.errors(include_url=False):
        kind, context = detail["type"], detail.get("ctx", {})
        path = _data_path(file.data, detail["loc"], missing=kind == "missing")
        if not _only_follows(kind, context, file.value(path)):
            faults.append((path, _reason(kind, detail["msg"], context, path, file, model)))
    return _lines(faults, file)


def describe_contradictions(found: Iterable[Contradiction], file: YamlFile) -> str:
    """All contradictions, a line each, in the file's order."""
    return _lines(found, file)


def _lines(faults: Iterable[tuple[KeyPath, str]], file: YamlFile) -> str:
    lines = {
        (file.line(path), f"{file.name}:{file.line(path)}: {dotted(path)}: got {_describe_value(path, file)}: {reason}")
        for path, reason in faults
    }
    return "\n".join(text for _, text in sorted(lines))


def _only_follows(kind: str, context: Mapping[str, Any], value: object) -> bool:
    """Whether pydantic calls a list too short only because its items were refused, which are faults already."""
    return kind == "too_short" and isinstance(value, tuple) and len(value) >= context["min_length"]


def _data_path(data: object, location: tuple[int | str, ...], *, missing: bool) -> KeyPath:
    """The key path in the file: pydantic's location without the names of union members and validators."""
    path: list[int | str] = []
    for index, part in enumerate(location):
        inner = child(data, part)
        if inner is ABSENT and not (missing and index == len(location) - 1):
            continue
        data = inner
        path.append(part)
    return tuple(path)


def _describe_value(path: KeyPath, file: YamlFile) -> str:
    """The value as written, shortened; `nothing` for a missing key."""
    data = file.value(path)
    if data is None:
        return "nothing"
    text = _flow(data, path, file)
    shown = text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."
    return repr(shown) if isinstance(data, str) else shown


def _flow(data: object, path: KeyPath, file: YamlFile) -> str:
    """A value in one line, groups and lists as `{a: 1}` and `[a, b]`."""
    if isinstance(data, dict):
        return f"{{{', '.join(f'{key}: {_flow(value, (*path, key), file)}' for key, value in data.items())}}}"
    if isinstance(data, tuple):
        return f"[{', '.join(_flow(value, (*path, index), file) for index, value in enumerate(data))}]"
    return file.texts[path]


def _reason(
    kind: str, message: str, context: Mapping[str, Any], path: KeyPath, file: YamlFile, model: type[BaseModel]
) -> str:
    if kind == "extra_forbidden":
        known = _keys_at(model, path[:-1])
        return f"is not a known key; {_suggest(str(path[-1]), known)}"
    if kind == "missing":
        return f"this key is missing; add it: {_description(model, path)}"
    if kind == "literal_error":
        choices = [text.strip("'") for text in context["expected"].replace(" or ", ", ").split(", ")]
        if len(choices) == 1:
            return f"is not {choices[0]!r}; write {_description(model, path)}"
        return f"is not one of the allowed words; {_suggest(file.texts.get(path, ''), choices)}"
    if kind in _BOUNDS:
        bound = _BOUNDS[kind]
        return f"is out of range; write {_BOUND_NAMES[bound]} {context[bound]:g}"
    if kind == "too_short":
        return f"has too few items; give at least {context['min_length']}"
    if kind == "too_long":
        return f"has too many items; give at most {context['max_length']}"
    wrong, remedy = _PLAIN_REMEDIES.get(kind, ("", ""))
    return f"{wrong}; {remedy}" if wrong else message.removeprefix("Value error, ")


def _suggest(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(sorted(known))}"


def _section(annotation: object) -> type[BaseModel] | None:
    """The section inside an annotation such as `tuple[SkillSection, ...]` or `ScheduleSection | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_section(argument) for argument in get_args(annotation))
    return next((found for found in inner if found is not None), None)


def _model_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel]:
    for part in path:
        field = model.model_fields.get(str(part))
        model = (_section(field.annotation) if field else None) or model
    return model


def _keys_at(model: type[BaseModel], path: KeyPath) -> list[str]:
    return list(_model_at(model, path).model_fields)


def _description(model: type[BaseModel], path: KeyPath) -> str:
    field = _model_at(model, path[:-1]).model_fields.get(str(path[-1]))
    return field.description or "" if field else ""

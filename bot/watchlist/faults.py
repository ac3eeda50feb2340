"""Turns pydantic's errors into lines for a person: file, line, key, value, what is wrong, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from bot.watchlist.contradictions import Contradiction
from bot.watchlist.words import suggest_word
from bot.watchlist.yaml_file import ABSENT, YamlFile, child, is_number
from merging.mergekit.config import KeyPath, dotted

_WRONG_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "tuple_type": "a list",
    "model_type": "a group of keys",
    "model_attributes_type": "a group of keys",
    "dict_type": "a group of keys",
}
"""pydantic's error type → what the value should be."""

_MOST_SHOWN = 60
"""Characters of a value in an error."""

_BOUNDS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
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
    return _lines(((_as_written(path, file), reason) for path, reason in found), file)


def _as_written(path: KeyPath, file: YamlFile) -> KeyPath:
    """The key in the file; that of the text, such as owner/name, which stands there for a whole group of keys."""
    return next((path[:end] for end in range(1, len(path)) if isinstance(file.value(path[:end]), str)), path)


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
        return f"is not a known key; {suggest_word(str(path[-1]), list(_model_at(model, path[:-1]).model_fields))}"
    if kind == "missing":
        return f"this key is missing; add it: {_description(model, path)}"
    if kind == "literal_error":
        choices = [text.strip("'") for text in context["expected"].replace(" or ", ", ").split(", ")]
        return f"is not one of the allowed words; {suggest_word(file.texts.get(path, ''), choices)}"
    if kind in _BOUNDS:
        asked = " and ".join(f"{_BOUND_NAMES[bound]} {context[bound]:g}" for bound in _BOUND_NAMES if bound in context)
        return f"is out of range; write {_bounds(_field(model, path)) or asked}"
    if kind == "too_short":
        return f"has too few items; give at least {context['min_length']}"
    if kind == "too_long":
        return f"has too many items; give at most {context['max_length']}"
    if kind == "bool_type":
        return "is neither true nor false; write true or false without quotes"
    if kind in _WRONG_TYPES:
        return f"is not {_WRONG_TYPES[kind]}; {_right_type(_WRONG_TYPES[kind], path, file, model)}"
    return message.removeprefix("Value error, ")


def _right_type(wanted: str, path: KeyPath, file: YamlFile, model: type[BaseModel]) -> str:
    """How to write a value of the type that a key takes."""
    data, text = file.value(path), file.texts.get(path, "")
    field = _field(model, path)
    or_null = ", or null" if field is not None and type(None) in get_args(field.annotation) else ""
    match wanted:
        case "text":
            return "put it in quotes" if text else "write a word or a line"
        case "a list":
            return f"write [{text}] or one `- item` a line" if text else "write [a, b] or one `- item` a line"
        case "a group of keys":
            return f"{_right_group(path, file, model)}{or_null}"
    if isinstance(data, str) and is_number(text):
        return "write it without quotes"
    if text.endswith("%") and is_number(text[:-1].strip()):
        return f"write a share such as {float(text[:-1]) / 100:g}"
    bounds = _bounds(field)
    return f"write one{f' of {bounds}' if bounds else ''}{or_null}"


def _right_group(path: KeyPath, file: YamlFile, model: type[BaseModel]) -> str:
    """How to write a group: with its one necessary key, or with any of its keys."""
    field = _field(model, path)
    section = _section(field.annotation) if field else None
    if section is None:
        return "write `name: value` lines below it"
    required = [key for key, one in section.model_fields.items() if one.is_required()]
    if len(required) == 1 and isinstance(file.value(path), str):
        return f'write {{{required[0]}: "{file.texts[path]}"}}'
    return f"write `key: value` lines below it, of {', '.join(section.model_fields)}"


def _bounds(field: FieldInfo | None) -> str:
    """The bounds of a number, such as `at least 0.5 and less than 1`; "" if it has none."""
    found = {
        key: getattr(rule, key)
        for rule in _metadata(field)
        for key in _BOUND_NAMES
        if getattr(rule, key, None) is not None
    }
    return " and ".join(f"{_BOUND_NAMES[key]} {found[key]:.10g}" for key in _BOUND_NAMES if key in found)


def _metadata(field: FieldInfo | None) -> list[object]:
    """What a field says of its values, in the field itself or within `X | None`."""
    if field is None:
        return []
    inner = [one for part in get_args(field.annotation) for one in getattr(part, "__metadata__", ())]
    nested = [one for info in inner if isinstance(info, FieldInfo) for one in info.metadata]
    return [*field.metadata, *inner, *nested]


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


def _field(model: type[BaseModel], path: KeyPath) -> FieldInfo | None:
    """The field of a key; of the list, for an item of a list."""
    names = [part for part in path if isinstance(part, str)]
    return _model_at(model, tuple(names[:-1])).model_fields.get(names[-1]) if names else None


def _description(model: type[BaseModel], path: KeyPath) -> str:
    field = _field(model, path)
    return field.description or "" if field else ""

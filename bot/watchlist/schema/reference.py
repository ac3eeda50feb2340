"""The reference of watchlists, docs/watchlist.md: every key with its type, default and meaning, from the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TypedDict, cast

from markupsafe import Markup

from bot.watchlist.watchlist import Watchlist
from templates.markdown import render_markdown


class Property(TypedDict, total=False):
    """A key in a JSON Schema, as pydantic writes it."""

    type: str
    anyOf: list[Property]
    oneOf: list[Property]
    items: Property
    additionalProperties: Property
    enum: list[object]
    const: object
    description: str
    default: object


class Keys(TypedDict, total=False):
    """A group of keys in a JSON Schema."""

    description: str
    properties: dict[str, Property]
    required: list[str]


def watchlist_reference() -> str:
    """The page in Markdown, ending in a line break."""
    schema = Watchlist.model_json_schema()
    groups = cast("dict[str, Keys]", schema["$defs"])
    sections = [("A watchlist", _rows(cast("Keys", schema)))]
    sections += [(Markup(f"`{path}`"), _rows(groups[name])) for path, name in _nested("", cast("Keys", schema), groups)]
    return render_markdown("watchlist_reference.md.j2", sections=sections)


def _nested(above: str, group: Keys, groups: dict[str, Keys]) -> Iterator[tuple[str, str]]:
    """Every group below another, as (path of keys, name in the schema)."""
    for key, value in group["properties"].items():
        name = _group_name(value)
        if name is not None:
            path = f"{above}{key}{'[]' if value.get('type') == 'array' else ''}"
            yield path, name
            yield from _nested(f"{path}.", groups[name], groups)


def _rows(group: Keys) -> list[tuple[str, str, str, str]]:
    """(key, what may be written, default, meaning) of each key. The texts are the schema's own: none is escaped."""
    required = set(group.get("required", ()))
    return [
        (
            Markup(f"`{key}`"),
            Markup(_allowed(value)),
            "(required)" if key in required else Markup(_default(value)),
            Markup(value.get("description", "")),
        )
        for key, value in group["properties"].items()
    ]


def _group_name(value: Property) -> str | None:
    """The group of keys that a value is, or holds a list of; None for plain values."""
    reference = cast("dict[str, str]", value).get("$ref")
    if reference is not None:
        return reference.rpartition("/")[2]
    inner = [*value.get("anyOf", ()), *value.get("oneOf", ()), *([value["items"]] if "items" in value else [])]
    return next((name for one in inner if (name := _group_name(one)) is not None), None)


def _allowed(value: Property) -> str:
    """A short description of the values a key takes."""
    choices = [*value.get("anyOf", ()), *value.get("oneOf", ())]
    if choices:
        return " or ".join(dict.fromkeys(map(_allowed, choices)))
    if "enum" in value:
        return ", ".join(map(str, value["enum"]))
    if "const" in value:
        return str(value["const"])
    if _group_name(value) is not None:
        return "list of groups" if value.get("type") == "array" else "group of keys"
    kind = value.get("type", "")
    if kind == "array":
        return f"list of {_allowed(value['items'])}"
    return {"string": "text", "object": "group of keys", "boolean": "true or false"}.get(kind, kind)


def _default(value: Property) -> str:
    """The default as YAML would have it; nothing for groups, whose keys have their own."""
    default = value.get("default")
    return "" if _group_name(value) is not None and default not in (None, [], "auto") else f"`{json.dumps(default)}`"

"""The rules between keys that JSON Schema can say; bot/watchlist/contradictions.py has all of them."""

from __future__ import annotations

from collections.abc import Mapping

from bot.watchlist.values import anchored
from merging.kinds import KINDS
from merging.methods import METHODS, searched_methods

JsonSchema = dict[str, object]


def add_conditions(schema: JsonSchema) -> JsonSchema:
    """The schema of a watchlist with those rules, in the whole and in the sections that they concern."""
    groups = schema["$defs"]
    assert isinstance(groups, Mapping)
    added = {name: group | {"allOf": rules} for name, group in groups.items() if (rules := _SECTIONS.get(name))}
    return schema | {
        "$defs": {**groups, **added},
        "allOf": [_something_watched(), _one_component(), *_methods_and_sources()],
    }


def _has(key: str, value: Mapping[str, object]) -> JsonSchema:
    """The key is there, with such a value."""
    return {"properties": {key: value}, "required": [key]}


def _may_have(key: str, value: Mapping[str, object]) -> JsonSchema:
    """The key is missing, or has such a value."""
    return {"properties": {key: value}}


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FILLED: JsonSchema = {"type": "array", "minItems": 1}
_WORDS = (_has("tags", _FILLED), _has("search", {"type": "string"}))
_ALLOWED_AUTHORS = _has("authors", _has("allow", _FILLED))
_OF_DRAWING = ("steps", "picture_sizes")
_NAME_PART = "[A-Za-z0-9._-]*"
_NO_PATHS = _may_have("space", {"const": "parameter"})
_SEARCHES_WEIGHTS = _may_have("space", {"enum": ["parameter", "both"]})


def _something_watched() -> JsonSchema:
    """Not the whole Hub."""
    besides = (_has("language_models", {"type": "object", **one}) for one in _WORDS)
    chosen = (*_WORDS, *besides, _ALLOWED_AUTHORS)
    return {"anyOf": [_has("pinned", _FILLED), *(_has("watch", one) for one in chosen)]}


def _one_component() -> JsonSchema:
    """Kinds whose models have one component read no keys on others; few have language models in them, or paths."""
    simple = [name for name, kind in KINDS.items() if not kind.other_components]
    unread = (
        _may_have("carrier", {"const": "auto"}),
        _may_have("search", _may_have("components", {"const": {}})),
    )
    no_language_models = _may_have("watch", _may_have("language_models", {"type": "null"}))
    without = _may_have("kind", {"enum": [name for name, kind in KINDS.items() if not kind.inner_kinds]})
    weights_alone = _may_have("search", _NO_PATHS)
    undrawn = _may_have("kind", {"enum": [name for name, kind in KINDS.items() if not kind.draws]})
    nothing_drawn = [_may_have(key, {"type": "null"}) for key in _OF_DRAWING]
    unpathed = _has("kind", {"enum": [name for name, kind in KINDS.items() if not kind.has_paths]})
    carriers_tokens = _may_have("search", _may_have("vocabulary", {"const": "same"}))
    of_one = _may_have("kind", {"enum": simple})
    known = [_known_components(name) for name in KINDS if name not in simple]
    return {
        "allOf": [
            {"if": of_one, "then": {"allOf": list(unread)}},
            {"if": without, "then": no_language_models},
            {"if": unpathed, "then": weights_alone},
            {"if": undrawn, "then": _may_have("search", {"allOf": nothing_drawn})},
            {"anyOf": [of_one, carriers_tokens]},
            *known,
        ]
    }


def _known_components(kind: str) -> JsonSchema:
    """Other components than a kind's models have cannot be used."""
    known: JsonSchema = {name: {} for name in KINDS[kind].other_components}
    names = {"properties": known, "additionalProperties": False}
    return {"if": _has("kind", {"const": kind}), "then": _may_have("search", _may_have("components", names))}


def _methods_and_sources() -> list[JsonSchema]:
    """Methods of exactly two sources have two, and those that need a base have one."""
    two = [name for name in searched_methods() if METHODS[name].max_sources == 2]
    with_base = [name for name in searched_methods() if METHODS[name].needs_base]
    merges_two = {"allOf": [_SEARCHES_WEIGHTS, _has("method", {"enum": two})]}
    merges_on_base = {"allOf": [_SEARCHES_WEIGHTS, _may_have("method", {"enum": with_base})]}  # as the default does
    return [
        {"if": _has("search", merges_two), "then": _has("max_sources", {"const": 2})},
        {"if": _may_have("search", merges_on_base), "then": {"not": _has("base", {"type": "null"})}},
    ]


def _cron_pattern() -> str:
    """Five fields of numbers, names, ranges and steps. Numbers are in range, but ranges may run backwards."""

    def field(*values: str) -> str:
        one = f"(?:{'|'.join(values)})"
        part = rf"(?:\*|{one}(?:-{one})?)(?:/0*[1-9][0-9]*)?"
        return f"{part}(?:,{part})*"

    def names(*words: str) -> list[str]:
        return ["".join(f"[{letter.upper()}{letter}]" for letter in word) for word in words]

    fields = (
        field("0*[0-5]?[0-9]"),
        field("0*(?:1?[0-9]|2[0-3])"),
        field("0*[1-9]", "[12][0-9]", "3[01]", "last"),
        field("0*[1-9]", "1[0-2]", *names(*_MONTHS)),
        field("[0-7]", *names(*_DAYS)),
    )
    between = r"\s+"
    return anchored(rf"\s*{between.join(fields)}\s*")


_SECTIONS: Mapping[str, list[JsonSchema]] = {
    "WatchSection": [
        {"anyOf": [_may_have("language_models", {"anyOf": [{"type": "null"}, *_WORDS]}), _ALLOWED_AUTHORS]}
    ],
    "SearchSection": [
        {"if": _NO_PATHS, "then": _may_have("dataflow", {"type": "null"})},
        {
            "if": _has("last_stage", {"type": "object"}),
            "then": {"allOf": [_NO_PATHS, _may_have("vocabulary", {"const": "same"})]},
        },
        {
            "if": {"anyOf": [_has(key, {"type": "array"}) for key in _OF_DRAWING]},
            "then": _has("racing", {"type": "null"}),
        },
        _may_have("last_stage", {"not": {"type": "object", **_has("scale", {"enum": [0, [0, 0]]})}}),
        {
            "if": _has("dataflow", {"type": "object", **_has("smaller", {"const": True})}),
            "then": _has("racing", {"type": "null"}),
        },
    ],
    "PublishSection": [
        {"if": {"not": _has("mode", {"const": "off"})}, "then": _has("namespace", {"type": "string"})},
        _may_have("name", {"pattern": anchored(rf"(?:{_NAME_PART}\{{(?:watchlist|cycle|role)\}})*{_NAME_PART}")}),
        {"if": {"not": _has("max_releases", {"const": 1})}, "then": _may_have("name", {"pattern": r"\{role\}"})},
    ],
    "ScheduleSection": [_may_have("cron", {"pattern": _cron_pattern()})],
}
"""The rules of a section, by its name in the schema."""

"""Keys of a watchlist that are right alone and wrong together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import Formatter
from zoneinfo import ZoneInfo

from bot.watchlist.cron import standard_trigger
from bot.watchlist.sections import DataflowSection, ScheduleSection, SearchSection, WatchlistFields
from bot.watchlist.yaml_file import KeyPath
from merging.recipes.weight_merge import METHODS

Contradiction = tuple[KeyPath, str]

TASK_METHODS = frozenset(name for name, method in METHODS.items() if method.needs_base)
"""Methods that work on differences from a base model."""

LONGEST_NAME = 96
"""Characters that the Hub allows in a repo's name, after the owner's."""

_NAME_PARTS = ("watchlist", "cycle", "role")
_PREFIX = "Llama-"
"""The longest prefix that a licence puts before the names of releases."""
_LATE_CYCLE = 99_999


def needs_base(search: SearchSection) -> bool:
    """Whether merges are made of differences from a base; paths through the sources alone are not."""
    return search.space != "dataflow" and search.method in TASK_METHODS


def contradictions(watchlist: WatchlistFields) -> Iterator[Contradiction]:
    """Keys that are right alone and wrong together: (path, what is wrong; what to do)."""
    yield from _source_contradictions(watchlist)
    yield from _skill_contradictions(watchlist)
    yield from _publish_contradictions(watchlist)
    if watchlist.schedule is not None:
        yield from _schedule_contradictions(watchlist.schedule)


def _source_contradictions(watchlist: WatchlistFields) -> Iterator[Contradiction]:
    watch, search = watchlist.watch, watchlist.search
    if not (watch.tags or watch.search or watch.authors.allow or watchlist.pinned):
        yield (
            ("watch",),
            "matches the whole Hub; give watch.tags, watch.search, watch.authors.allow or pinned",
        )
    for author in sorted(set(watch.authors.allow) & set(watch.authors.deny)):
        yield ("watch", "authors", "deny"), f"names {author!r}, which allow names too; remove it from one"
    low, high = watch.parameters.min, watch.parameters.max
    if low is not None and high is not None and low > high:
        yield ("watch", "parameters", "min"), f"is more than max ({high}); swap them"
    repos = [reference.repo for reference in watchlist.pinned]
    for index, repo in enumerate(repos):
        if repo in repos[:index]:
            yield ("pinned", index, "repo"), "is pinned twice; remove one"
    if search.space != "dataflow" and METHODS[search.method].max_sources == 2 and watchlist.max_sources != 2:
        yield ("max_sources",), f"does not fit {search.method}, which merges exactly two; write max_sources: 2"
    if search.space == "parameter" and search.dataflow != DataflowSection():
        yield (
            ("search", "dataflow"),
            "is not read where search.space is parameter; write dataflow or both, or remove it",
        )
    least, most = search.dataflow.min_layers, search.dataflow.max_layers
    if least is not None and most is not None and least > most:
        yield ("search", "dataflow", "min_layers"), f"is more than max_layers ({most}); swap them"
    if search.dataflow.smaller and search.racing is not None:
        yield (
            ("search", "dataflow", "smaller"),
            "does not fit search.racing, in which candidates leave for their skills alone; write racing: null",
        )
    if needs_base(search) and watchlist.base is None:
        yield ("base",), f"does not fit {search.method}, which needs a base; name it, or write auto"
    if search.budget.candidates < search.population:
        why = f"is less than search.population ({search.population}); raise it or shrink the population"
        yield ("search", "budget", "candidates"), why
    items, racing = watchlist.items.search, search.racing
    if racing is not None and "racing" in search.model_fields_set and items is not None and items < 2**racing.rounds:
        why = f"divides {items} items of a task (items.search) too far; at most {max(2, items.bit_length() - 1)} here"
        yield ("search", "racing", "rounds"), f"{why}, or write racing: null"


def _skill_contradictions(watchlist: WatchlistFields) -> Iterator[Contradiction]:
    names = [skill.name for skill in watchlist.skills]
    for index, skill in enumerate(watchlist.skills):
        if skill.name in names[:index]:
            yield ("skills", index, "name"), "is the name of an earlier skill; choose another"
        measured = [(entry.task, entry.metric, entry.filter) for entry in skill.tasks]
        for place, key in enumerate(measured):
            if key in measured[:place]:
                yield (
                    ("skills", index, "tasks", place, "task"),
                    "counts twice; remove it and raise the weight",
                )
    for name in watchlist.gate.minimum:
        if name not in names:
            yield ("gate", "minimum", name), f"is for no skill of this file; choose from {', '.join(names)}"


def _publish_contradictions(watchlist: WatchlistFields) -> Iterator[Contradiction]:
    publish = watchlist.publish
    if publish.mode != "off" and publish.namespace is None:
        yield (
            ("publish", "namespace"),
            f"is needed in mode {publish.mode}; name a user or organisation, or mode: off",
        )
    path = ("publish", "name")
    try:
        parts = list(Formatter().parse(publish.name))
    except ValueError:
        yield path, "has a brace without its partner; write e.g. {watchlist}-{role}"
        return
    fields = [field for _, field, _, _ in parts if field is not None]
    plain = all(not spec and conversion is None for _, _, spec, conversion in parts)
    if not plain or not set(fields) <= set(_NAME_PARTS):
        yield path, "has an unknown part; only {watchlist}, {cycle} and {role} are filled in"
    elif publish.max_releases > 1 and "role" not in fields:
        yield path, "would give all releases of a cycle one name; put {role} in, or write max_releases: 1"
    elif not re.fullmatch(r"[A-Za-z0-9._-]*", "".join(literal for literal, _, _, _ in parts)):
        yield path, "is no repo name; use letters, digits, hyphens, dots and underscores beside the {parts}"
    elif (length := len(_longest_name(watchlist))) > LONGEST_NAME:
        why = f"makes repo names of up to {length} characters, where the Hub allows {LONGEST_NAME}"
        yield path, f"{why}; shorten it, the watchlist's name or the skills' names"


def _longest_name(watchlist: WatchlistFields) -> str:
    """The longest name that a release may get, with a licence's prefix and a late cycle's number."""
    roles = ("balanced", "smallest", *(f"best-{skill.name}" for skill in watchlist.skills))
    role = max(roles, key=len)
    name = watchlist.publish.name.format(watchlist=watchlist.name, cycle=_LATE_CYCLE, role=role)
    return name if name.lower().startswith(_PREFIX.rstrip("-").lower()) else f"{_PREFIX}{name}"


def _schedule_contradictions(schedule: ScheduleSection) -> Iterator[Contradiction]:
    try:
        ZoneInfo(schedule.timezone)
    except (KeyError, ValueError, OSError):
        yield ("schedule", "timezone"), "is no time zone; write an IANA name such as Europe/Berlin or UTC"
        return
    try:
        standard_trigger(schedule.cron, schedule.timezone)
    except ValueError as error:
        yield ("schedule", "cron"), f"{error}; write minute hour day month weekday, e.g. 0 3 * * 1"

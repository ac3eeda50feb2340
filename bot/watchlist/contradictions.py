"""Keys of a watchlist that are right alone and wrong together, a rule each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from string import Formatter
from zoneinfo import ZoneInfo

from bot.watchlist.domain import Reference
from bot.watchlist.item_counts import find_hopeless_counts
from bot.watchlist.licence_ids import LICENCES, LicenceKind
from bot.watchlist.schedule.cron import standard_trigger
from bot.watchlist.sections import PinnedModel, PinnedSource, SkillSection
from bot.watchlist.values import LICENCE_IDS, TYPOGRAPHIC_QUOTE
from bot.watchlist.watchlist import Watchlist
from bot.watchlist.words import suggest_word
from merging.kinds import KINDS
from merging.mergekit.config import KeyPath
from merging.methods import METHODS

Contradiction = tuple[KeyPath, str]
"""The path of a key, what is wrong with it, and what to do."""

ContradictionRule = Callable[[Watchlist], Iterator[Contradiction]]

LONGEST_NAME = 96
"""Characters that the Hub allows in a repo's name, after the owner's."""

_SHARES = {"acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "em"}
"""Metrics of lm-eval that are shares of right answers, which no percentage is."""

_NAME_PARTS = ("watchlist", "cycle", "role")
_PREFIX = "Llama-"
"""The longest prefix that a licence puts before the names of releases."""
_LATE_CYCLE = 99_999


def find_contradictions(watchlist: Watchlist) -> Iterator[Contradiction]:
    """Every contradiction, rule by rule."""
    for rule in _RULES:
        yield from rule(watchlist)


def _watches_everything(watchlist: Watchlist) -> Iterator[Contradiction]:
    if not (watchlist.watch.sought or watchlist.pinned):
        found = "matches the whole Hub" if watchlist.carrier == "auto" else "finds nothing besides the carrier"
        yield ("watch",), f"{found}; give watch.tags, watch.search, watch.authors.allow or pinned"


def _allowed_and_denied(watchlist: Watchlist) -> Iterator[Contradiction]:
    authors = watchlist.watch.authors
    for author in sorted(set(authors.allow) & set(authors.deny)):
        yield ("watch", "authors", "deny"), f"names {author!r}, which allow names too; remove it from one"


def _unknown_licence(watchlist: Watchlist) -> Iterator[Contradiction]:
    for index, licence in enumerate(watchlist.watch.licences or ()):
        if licence not in LICENCE_IDS:
            reason = "is not a licence whose merges shoal publishes"
            yield ("watch", "licences", index), f"{reason}; {suggest_word(licence, list(LICENCE_IDS))}"


def _stated_licences(watchlist: Watchlist) -> Iterator[Contradiction]:
    stated: list[tuple[KeyPath, PinnedModel]]
    stated = [(("pinned", index, "licence"), model) for index, model in enumerate(watchlist.pinned)]
    if isinstance(watchlist.base, PinnedModel):
        stated = [*stated, (("base", "licence"), watchlist.base)]
    if watchlist.carrier != "auto":
        stated = [*stated, (("carrier", "licence"), watchlist.carrier)]
    if (stage := watchlist.search.last_stage) is not None:
        stated = [*stated, (("search", "last_stage", "adapter", "licence"), stage.adapter)]
    for path, model in stated:
        if model.licence is not None and model.licence not in LICENCES:
            yield path, f"is not a licence that shoal has a rule for; {suggest_word(model.licence, sorted(LICENCES))}"
        elif model.licence and LICENCES[model.licence] is LicenceKind.FORBIDS and watchlist.publish.mode != "off":
            yield path, "forbids publishing a merge; set publish.mode: off"


def _typographic_quotes(watchlist: Watchlist) -> Iterator[Contradiction]:
    for path, text in _texts(watchlist.model_dump(), ()):
        if re.match(TYPOGRAPHIC_QUOTE, text):
            yield path, "begins with a typographic quotation mark; write \" or ', or none"


def _texts(data: object, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Every text within, with its path."""
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _texts(value, (*path, key))
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            yield from _texts(value, (*path, index))


def _empty_parameter_range(watchlist: Watchlist) -> Iterator[Contradiction]:
    low, high = watchlist.watch.parameters.min, watchlist.watch.parameters.max
    if low is not None and high is not None and low > high:
        yield ("watch", "parameters", "min"), f"is more than max ({high}); swap them"


def _pinned_twice(watchlist: Watchlist) -> Iterator[Contradiction]:
    repos = [reference.repo for reference in watchlist.pinned]
    for index, repo in enumerate(repos):
        if repo in repos[:index]:
            yield (
                ("pinned", index, "repo"),
                "is pinned twice, and a pool has one file of a repo at most; remove one",
            )


def _carrier_named_otherwise(watchlist: Watchlist) -> Iterator[Contradiction]:
    carrier = watchlist.carrier
    others: list[tuple[str, PinnedModel]] = [(f"pinned[{index}]", one) for index, one in enumerate(watchlist.pinned)]
    others += [("base", watchlist.base)] if isinstance(watchlist.base, PinnedModel) else []
    for key, model in others:
        if carrier == "auto" or model.repo != carrier.repo:
            continue
        if isinstance(model, PinnedSource) and model.file is not None:
            yield ("carrier",), f"is {key} too, of which one file is meant; leave it out there, or name another"
        elif model.model_dump(exclude_none=True) != carrier.model_dump(exclude_none=True):
            yield ("carrier",), f"is {key} too, with another revision or licence; write the same in both"


def _unread_with_this_kind(watchlist: Watchlist) -> Iterator[Contradiction]:
    """Keys on components: a kind that has one only reads none of them, and few have language models in them."""
    kind = KINDS[watchlist.kind]
    reason, remedy = f"is not read where kind is {kind.name}, whose models", "remove it, or write another kind"
    if not kind.inner_kinds and watchlist.watch.language_models is not None:
        yield ("watch", "language_models"), f"{reason} have no language model in them; {remedy}"
    if kind.other_components:
        return
    if watchlist.carrier != "auto":
        yield ("carrier",), f"{reason} have one component; {remedy}"
    if watchlist.search.components:
        yield ("search", "components"), f"{reason} have one component; {remedy}"


def _files_of_whole_models(watchlist: Watchlist) -> Iterator[Contradiction]:
    if KINDS[watchlist.kind].loose_parts:
        return
    reason = f"is not read where kind is {watchlist.kind}, whose models and adapters are whole repos; leave it out"
    for index, source in enumerate(watchlist.pinned):
        if source.file is not None:
            yield ("pinned", index, "file"), reason
    stage = watchlist.search.last_stage
    if stage is not None and stage.adapter.file is not None:
        yield ("search", "last_stage", "adapter", "file"), reason


def _paths_of_no_kind(watchlist: Watchlist) -> Iterator[Contradiction]:
    if watchlist.search.space != "parameter" and not KINDS[watchlist.kind].has_paths:
        yield (
            ("search", "space"),
            f"does not fit kind {watchlist.kind}, whose models have no paths through layers; write parameter",
        )


def _pictures_without_a_processor(watchlist: Watchlist) -> Iterator[Contradiction]:
    if watchlist.picture_size is not None and not KINDS[watchlist.kind].processor_files:
        yield ("picture_size",), f"is not read where kind is {watchlist.kind}, whose models see no pictures; remove it"


def _unknown_component(watchlist: Watchlist) -> Iterator[Contradiction]:
    """As far as the kind tells: some of its models have fewer components."""
    if known := KINDS[watchlist.kind].other_components:
        for name in watchlist.search.components:
            if name not in known:
                yield ("search", "components", name), f"is for no component of such models; write {' or '.join(known)}"


def _vocabulary_of_a_carrier(watchlist: Watchlist) -> Iterator[Contradiction]:
    if KINDS[watchlist.kind].other_components and watchlist.search.vocabulary != "same":
        yield (
            ("search", "vocabulary"),
            f"does not fit kind {watchlist.kind}, whose merges have the carrier's tokens; write same",
        )


def _unfit_last_stage(watchlist: Watchlist) -> Iterator[Contradiction]:
    search, path = watchlist.search, ("search", "last_stage")
    if search.last_stage is None:
        return
    low, high = search.last_stage.scale
    if low > high:
        yield (*path, "scale"), f"is a range from high to low; write [{high:g}, {low:g}]"
    elif low == high == 0:
        yield (*path, "scale"), "adds nothing; give another number, or remove search.last_stage"
    if search.space != "parameter":
        yield path, f"does not fit search.space: {search.space}, for paths have no last stage; write parameter"
    if search.vocabulary != "same":
        yield path, f"does not fit search.vocabulary: {search.vocabulary}, as adapters are for one; write same"


def _unfit_drawing(watchlist: Watchlist) -> Iterator[Contradiction]:
    search = watchlist.search
    searched = {"steps": search.steps, "picture_sizes": search.picture_sizes}
    for key, values in searched.items():
        if values is None:
            continue
        path = ("search", key)
        if not KINDS[watchlist.kind].draws:
            yield path, f"is not read where kind is {watchlist.kind}, whose models draw nothing; remove it"
        if any(one >= other for one, other in pairwise(values)):
            yield path, _ASCENDING[key]
        if search.racing is not None:
            yield (
                path,
                "does not fit search.racing, which compares candidates by their skills alone; write racing: null",
            )


_ASCENDING = {
    "steps": "is no range from fewer to more steps; write e.g. [1, 8], or remove it",
    "picture_sizes": "does not go from small to large; write e.g. [512, 768, 1024], or remove it",
}


def _no_language_models_sought(watchlist: Watchlist) -> Iterator[Contradiction]:
    besides = watchlist.watch.language_models
    if besides is not None and besides not in watchlist.watch.sought:
        yield ("watch", "language_models"), "finds nothing; give tags, search or watch.authors.allow, or remove it"


def _method_of_two(watchlist: Watchlist) -> Iterator[Contradiction]:
    search = watchlist.search
    if search.space != "dataflow" and METHODS[search.method].max_sources == 2 and watchlist.max_sources != 2:
        yield ("max_sources",), f"does not fit {search.method}, which merges exactly two; write max_sources: 2"


def _audition_of_too_few(watchlist: Watchlist) -> Iterator[Contradiction]:
    asked = watchlist.audition.sources if watchlist.audition else None
    if asked is not None and asked <= watchlist.max_sources:
        yield (
            ("audition", "sources"),
            f"leaves nothing to choose with max_sources: {watchlist.max_sources}; give more, or write audition: null",
        )


def _unread_dataflow(watchlist: Watchlist) -> Iterator[Contradiction]:
    if watchlist.search.space == "parameter" and watchlist.search.dataflow is not None:
        yield (
            ("search", "dataflow"),
            "is not read where search.space is parameter; write dataflow or both, or remove it",
        )


def _empty_layer_range(watchlist: Watchlist) -> Iterator[Contradiction]:
    least, most = watchlist.search.paths.min_layers, watchlist.search.paths.max_layers
    if least is not None and most is not None and least > most:
        yield ("search", "dataflow", "min_layers"), f"is more than max_layers ({most}); swap them"


def _depth_in_a_race(watchlist: Watchlist) -> Iterator[Contradiction]:
    if watchlist.search.paths.smaller and watchlist.search.racing is not None:
        yield (
            ("search", "dataflow", "smaller"),
            "does not fit search.racing, which compares candidates by their skills alone; write racing: null",
        )


def _missing_base(watchlist: Watchlist) -> Iterator[Contradiction]:
    if watchlist.needs_base and watchlist.base is None:
        yield ("base",), f"does not fit {watchlist.search.method}, which needs a base; name it, or write auto"


def _budget_below_a_generation(watchlist: Watchlist) -> Iterator[Contradiction]:
    search = watchlist.search
    if search.budget.candidates < search.population:
        why = f"is less than search.population ({search.population}); raise it or shrink the population"
        yield ("search", "budget", "candidates"), why


def _rounds_beyond_the_items(watchlist: Watchlist) -> Iterator[Contradiction]:
    """Only rounds that the person asked for: with few items, the default ones just become fewer."""
    items, racing = watchlist.items.search, watchlist.search.racing
    rounds = racing.rounds if racing is not None else None
    if rounds is not None and items is not None and items < 2**rounds:
        why = f"divides {items} items of a task (items.search) too far; at most {max(2, items.bit_length() - 1)} here"
        yield ("search", "racing", "rounds"), f"{why}, or write racing: null"


def _skill_named_twice(watchlist: Watchlist) -> Iterator[Contradiction]:
    names: list[str] = []
    for path, section in _skills_and_guards(watchlist):
        if section.name in names:
            yield (*path, "name"), "is the name of an earlier skill or guard; choose another"
        names.append(section.name)


def _task_counted_twice(watchlist: Watchlist) -> Iterator[Contradiction]:
    for path, section in _skills_and_guards(watchlist):
        uses = [(entry.task, entry.metric, entry.filter) for entry in section.tasks]
        for number, use in enumerate(uses):
            if use in uses[:number]:
                yield (*path, "tasks", number, "task"), "counts twice; remove it and raise the weight"


def _skills_and_guards(watchlist: Watchlist) -> Iterator[tuple[KeyPath, SkillSection]]:
    for index, skill in enumerate(watchlist.skills):
        yield ("skills", index), skill
    for index, guard in enumerate(watchlist.guards):
        yield ("guards", index), guard


def _minimum_of_no_skill(watchlist: Watchlist) -> Iterator[Contradiction]:
    for name in watchlist.gate.minimum:
        if name not in watchlist.skill_names:
            skills = ", ".join(watchlist.skill_names)
            yield ("gate", "minimum", name), f"is for no skill of this file; choose from {skills}"


def _minimum_beyond_every_score(watchlist: Watchlist) -> Iterator[Contradiction]:
    metrics = {skill.name: {entry.metric for entry in skill.tasks} for skill in watchlist.skills}
    for name, minimum in watchlist.gate.minimum.items():
        if minimum > 1 and name in metrics and metrics[name] <= _SHARES:
            remedy = f"; write {minimum / 100:g}" if minimum <= 100 else ""
            yield (
                ("gate", "minimum", name),
                f"is more than {', '.join(sorted(metrics[name]))} can be, which is 1{remedy}",
            )


def _hopeless_item_counts(watchlist: Watchlist) -> Iterator[Contradiction]:
    """As far as the file alone tells: a task may have fewer documents than items.validation."""
    if (most := watchlist.items.validation) is not None:
        sections = (*watchlist.skills, *watchlist.guards)
        yield from find_hopeless_counts(watchlist, {use.task: most for section in sections for use in section.tasks})


def _guard_without_base(watchlist: Watchlist) -> Iterator[Contradiction]:
    for index, guard in enumerate(watchlist.guards):
        if Reference(guard.reference) is Reference.BASE and watchlist.base is None:
            yield (
                ("guards", index, "reference"),
                f"does not fit base: null; name a base, or write {Reference.BEST_SOURCE}",
            )


def _missing_namespace(watchlist: Watchlist) -> Iterator[Contradiction]:
    publish = watchlist.publish
    if publish.mode != "off" and publish.namespace is None:
        yield (
            ("publish", "namespace"),
            f"is needed in mode {publish.mode}; name a user or organisation, or mode: off",
        )


def _impossible_release_name(watchlist: Watchlist) -> Iterator[Contradiction]:
    publish, path = watchlist.publish, ("publish", "name")
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
        yield path, "is not a repo name; use letters, digits, hyphens, dots and underscores around the {parts}"
    elif (length := len(_longest_name(watchlist))) > LONGEST_NAME:
        why = f"makes repo names of up to {length} characters, and the Hub allows {LONGEST_NAME}"
        yield path, f"{why}; shorten it, the watchlist's name or the skills' names"


def _longest_name(watchlist: Watchlist) -> str:
    """The longest name that a release may get, with a licence's prefix and a late cycle's number."""
    roles = ("balanced", "smallest", *(f"towards-{name}" for name in watchlist.skill_names))
    role = max(roles, key=len)
    name = watchlist.publish.name.format(watchlist=watchlist.name, cycle=_LATE_CYCLE, role=role)
    return name if name.lower().startswith(_PREFIX.rstrip("-").lower()) else f"{_PREFIX}{name}"


def _impossible_schedule(watchlist: Watchlist) -> Iterator[Contradiction]:
    schedule = watchlist.schedule
    if schedule is None:
        return
    try:
        ZoneInfo(schedule.timezone)
    except (KeyError, ValueError, OSError):
        yield ("schedule", "timezone"), "is not a time zone; write an IANA name such as Europe/Berlin or UTC"
        return
    try:
        standard_trigger(schedule.cron, schedule.timezone)
    except ValueError as error:
        yield ("schedule", "cron"), f"{error}; write minute hour day month weekday, e.g. 0 3 * * 1"


_RULES: tuple[ContradictionRule, ...] = (
    _watches_everything,
    _allowed_and_denied,
    _unknown_licence,
    _stated_licences,
    _typographic_quotes,
    _empty_parameter_range,
    _pinned_twice,
    _carrier_named_otherwise,
    _unread_with_this_kind,
    _files_of_whole_models,
    _paths_of_no_kind,
    _pictures_without_a_processor,
    _unknown_component,
    _vocabulary_of_a_carrier,
    _unfit_last_stage,
    _unfit_drawing,
    _no_language_models_sought,
    _method_of_two,
    _audition_of_too_few,
    _unread_dataflow,
    _empty_layer_range,
    _depth_in_a_race,
    _missing_base,
    _budget_below_a_generation,
    _rounds_beyond_the_items,
    _skill_named_twice,
    _task_counted_twice,
    _minimum_of_no_skill,
    _minimum_beyond_every_score,
    _hopeless_item_counts,
    _guard_without_base,
    _missing_namespace,
    _impossible_release_name,
    _impossible_schedule,
)

"""Finds candidates: lists what the watchlist asks for, applies the rules, then queries each model left.

Models are compared by the name with which the Hub answers, never by the one in a card or a watchlist: a renamed repo
still answers to its old name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bot.errors import ShoalError
from bot.hub.answers.failures import HubForbidden, HubNotFound, HubRefused
from bot.hub.client import Hub, Query
from bot.hub.discovery.candidate import OTHER_LICENCE, Candidate, Verdict, to_candidate
from bot.hub.discovery.conversion import prefer_conversion
from bot.hub.discovery.meant_files import with_meant_files, with_named_file
from bot.hub.discovery.query import UNREADABLE, explain_unreadable, query_model, query_source
from bot.hub.discovery.rules import NAMED_BASE, SAFETY, first_refusal
from bot.hub.licences import licence_kind
from bot.watchlist.sections import PinnedModel, PinnedSource, WatchSection
from bot.watchlist.watchlist import Watchlist
from merging.errors import MergingError
from templates.escaping import plain

LISTED = 1000
"""Entries read of a list, most downloaded first. A watchlist that matches more is too wide."""

EXPAND = (
    "author",
    "cardData",
    "config",
    "downloads",
    "gated",
    "lastModified",
    "library_name",
    "pipeline_tag",
    "private",
    "safetensors",
    "sha",
    "siblings",
    "tags",
)

MAX_ANCESTORS = 32
"""Most ancestors (declared base models, and theirs) looked up for one model; with more its licence is unknown."""

LookUp = Callable[[str], Candidate | None]
"""The candidate to which a declared name leads on the Hub; None where it leads nowhere. Answers are remembered."""


@dataclass(frozen=True)
class Discovery:
    """The candidates that no rule refuses, best first, at pinned commits; and the refusals."""

    candidates: tuple[Candidate, ...]
    refused: tuple[Verdict, ...]


def discover_candidates(hub: Hub, watchlist: Watchlist, now: datetime) -> Discovery:
    """List what the watchlist asks for and query each model that passes the rules; no weights are read.

    Raises:
        ShoalError: the Hub cannot be asked, or does not show the carrier that the watchlist names.
    """
    pinned, lost, known = _query_named(hub, watchlist.named_sources)
    entries, unreadable = _list_models(hub, watchlist)
    listed = {candidate.repo: candidate for candidate in entries if candidate.repo not in known}
    by_rank = sorted(listed.values(), key=lambda candidate: candidate.rank)
    kept, refused = _apply_rules([*pinned, *by_rank], watchlist, now)
    near, far = kept[: watchlist.watch.max_candidates], kept[watchlist.watch.max_candidates :]
    limit = f"beyond watch.max_candidates ({watchlist.watch.max_candidates}), by downloads"
    beyond = [candidate.refuse(limit) for candidate in far]
    # A list leaves out sizes, hashes and the security scan, so each model is queried and the rules applied again.
    queried, vanished = _query_listed(hub, near)
    if watchlist.watch.pickles == "convert":
        queried = [prefer_conversion(hub, candidate) for candidate in queried]
    candidates, refused_after_query = _apply_rules(queried, watchlist, now)
    return Discovery(tuple(candidates), (*lost, *refused, *refused_after_query, *vanished, *beyond, *unreadable))


def find_base(
    hub: Hub, watchlist: Watchlist, candidates: Sequence[Candidate], look_up: LookUp, now: datetime
) -> Candidate | None:
    """The common ancestor: the one named, or (auto) the one most candidates declare; None if there is none.

    Raises:
        ShoalError: it is not on the Hub, or may not be used.
    """
    reference, rules = watchlist.base, NAMED_BASE
    if reference == "auto":
        name, rules = most_declared_base(candidates, look_up), SAFETY
        reference = PinnedModel(repo=name) if name else None
    if reference is None:
        return None
    base = with_meant_files(find_named(hub, reference, "base"), watchlist.kind)
    if watchlist.watch.pickles == "convert":
        base = prefer_conversion(hub, base)
    if reason := first_refusal(base, watchlist, now, rules):
        raise ShoalError(f"base: got {base.repo!r}: {reason}; name another base in the watchlist")
    return base


def find_named(hub: Hub, reference: PinnedModel, key: str) -> Candidate:
    """The model that a key names. ShoalError if the Hub does not show it, or its card has another licence."""
    try:
        found = query_source(hub, reference.repo, reference.revision)
    except (HubNotFound, HubForbidden, HubRefused) as error:
        raise ShoalError(f"{key}: {error}") from error
    if reason := _contradicts_card(found, reference, key):
        raise ShoalError(f"{key}: got {found.repo!r}: {reason}")
    return _with_statement(found, reference)


def most_declared_base(candidates: Iterable[Candidate], look_up: LookUp) -> str | None:
    """The base model that most candidates declare, by its name on the Hub; of equals, the first by name.

    A candidate has one vote for a model, under however many names it declares it.
    """

    def current_name(declared: str) -> str:
        found = look_up(declared)
        return found.repo if found else declared

    votes = Counter(
        name
        for candidate in candidates
        for name in {
            current_name(declared) for declared in candidate.base_models[:MAX_ANCESTORS] if _is_repo_name(declared)
        }
    )
    return min(votes, key=lambda name: (-votes[name], name)) if votes else None


def query_declared(hub: Hub, name: str) -> Candidate | None:
    """The model to which a name on a card leads; None for a name that no repo has or shows."""
    try:
        return query_model(hub, name)
    except (HubNotFound, HubForbidden, HubRefused, ValueError):
        return None


def with_statements(look_up: LookUp, known: Iterable[Candidate]) -> LookUp:
    """The same look-up, with the licences that the watchlist states for known models whose cards do not.

    So they hold for whatever descends from these models, too.
    """
    stated = {candidate.repo: candidate.licence for candidate in known if candidate.stated}

    def look_up_stated(name: str) -> Candidate | None:
        found = look_up(name)
        if found is None or found.repo not in stated or found.licence not in (None, "other"):
            return found
        return replace(found, licence=stated[found.repo], stated=True)

    return look_up_stated


def _is_repo_name(name: str) -> bool:
    """Whether a base model that a card declares can be a repo at all."""
    try:
        PinnedModel(repo=name)
    except ValueError:
        return False
    return True


def _list_models(hub: Hub, watchlist: Watchlist) -> tuple[list[Candidate], list[Verdict]]:
    """The entries of the Hub's lists, and those that cannot be read."""
    found: list[Candidate] = []
    unreadable: list[Verdict] = []
    for query in _list_queries(watchlist.watch):
        for row in hub.list_rows("/api/models", query, LISTED):
            read = _read_row(row)
            if isinstance(read, Candidate):
                found.append(read)
            else:
                unreadable.append(read)
    return found, unreadable


def _list_queries(watch: WatchSection) -> Iterator[Query]:
    """The requests for a watchlist's models, then for the language models besides: one for each allowed author."""
    for sought in watch.sought:
        for author in watch.authors.allow or (None,):
            query: dict[str, str | int | list[str] | None] = {
                "filter": list(sought.tags),
                "author": author,
                "search": sought.search,
                "pipeline_tag": sought.pipeline_tag,
                "sort": "downloads",
                "limit": LISTED,
                "expand": list(EXPAND),
            }
            yield {key: value for key, value in query.items() if value}


def _read_row(row: object) -> Candidate | Verdict:
    """A row of the Hub's list as a candidate; one that is not as the client expects is refused, and stops nothing."""
    from huggingface_hub.hf_api import ModelInfo

    try:
        return to_candidate(ModelInfo(**{"siblings": None, **row}))  # type: ignore[dict-item, no-untyped-call]
    except UNREADABLE as error:
        name = str(row.get("id")) if isinstance(row, dict) else "an entry of the list"
        return Verdict(plain(name)[:96], None, False, explain_unreadable(error))


def _query_named(hub: Hub, named: Sequence[tuple[str, PinnedModel]]) -> tuple[list[Candidate], list[Verdict], set[str]]:
    """Named models at their revisions; a pin that is missing, or the same as an earlier one, is refused, not fatal.

    named: the key of each in the watchlist, and what it says. With them come the names that lists have for all of them:
    of a refused one a list would give another commit, or another licence, than was asked for. ShoalError for a carrier
    that is missing.
    """
    found: dict[str, Candidate] = {}
    refused = []
    known = set()
    for index, (key, reference) in enumerate(named):
        try:
            candidate = query_source(hub, reference.repo, reference.revision, index)
        except (HubNotFound, HubForbidden, HubRefused) as error:
            why = _reason_of(error, reference.repo)
            if key == "carrier":
                raise ShoalError(f"carrier: got {reference.short!r}: {why}") from error
            refused.append(Verdict(reference.repo, None, False, f"pinned, but {why}"))
            known.add(_current_name(hub, reference))
            continue
        known.add(candidate.repo)
        if reason := _contradicts_card(candidate, reference, key):
            refused.append(candidate.refuse(reason))
            continue
        candidate = _with_statement(candidate, reference)
        if isinstance(reference, PinnedSource) and reference.file:
            try:
                candidate = with_named_file(candidate, reference.file)
            except MergingError as error:
                refused.append(candidate.refuse(f"pinned, but {error}"))
                continue
        first = found.setdefault(candidate.repo, candidate)
        if first is not candidate:
            why = f"it is {candidate.repo}, which is pinned twice; the first of the two entries counts"
            # Under the old name, because a cycle keeps one verdict for each name.
            names = {reference.repo, named[first.pinned or 0][1].repo} - {candidate.repo}
            refused += [Verdict(name, candidate.sha, False, why) for name in names]
    return list(found.values()), refused, known


def _current_name(hub: Hub, reference: PinnedModel) -> str:
    """The name that lists have for a model that the Hub does not show at its revision."""
    found = query_declared(hub, reference.repo) if reference.revision else None
    return found.repo if found else reference.repo


def _contradicts_card(candidate: Candidate, reference: PinnedModel, key: str) -> str | None:
    """Why the licence that the watchlist states is not the model's; None if it states none, or its card declares none.

    A card may also say "other", with a name for which shoal has no rule, and leave the rest to a file.
    """
    stated, declared = reference.licence, candidate.licence
    if stated is None or declared in (None, OTHER_LICENCE, stated):
        return None
    if f"license:{OTHER_LICENCE}" in candidate.tags and licence_kind(declared) is None:
        return None
    return f"its card declares the licence {declared[:40]!r}, not {stated}; remove {key}.licence"


def _with_statement(candidate: Candidate, reference: PinnedModel) -> Candidate:
    """The candidate with the licence that the watchlist states for it, where its card does not."""
    if reference.licence in (None, candidate.licence):
        return candidate
    return replace(candidate, licence=reference.licence, stated=True)


def _query_listed(hub: Hub, candidates: Iterable[Candidate]) -> tuple[list[Candidate], list[Verdict]]:
    """Listed candidates queried at the commits of the list; pinned ones have been queried already."""
    queried, vanished = [], []
    for candidate in candidates:
        try:
            known = candidate.pinned is not None
            queried.append(candidate if known else query_source(hub, candidate.repo, candidate.sha or None))
        except (HubNotFound, HubForbidden, HubRefused) as error:
            vanished.append(candidate.refuse(f"listed, but {_reason_of(error, candidate.repo)}"))
    return queried, vanished


def _apply_rules(
    candidates: Iterable[Candidate], watchlist: Watchlist, now: datetime
) -> tuple[list[Candidate], list[Verdict]]:
    kept, refused = [], []
    for listed in candidates:
        candidate = with_meant_files(listed, watchlist.kind)
        reason = first_refusal(candidate, watchlist, now)
        if reason is None:
            kept.append(candidate)
        else:
            refused.append(candidate.refuse(reason))
    return kept, refused


def _reason_of(error: Exception, repo: str) -> str:
    """The error's text without the repo's name, which the verdict has already."""
    return str(error).removeprefix(f"{repo}: ")

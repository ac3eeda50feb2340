"""The pool: the sources that can be merged with each other, their base, and the licence of their merges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial

from bot.errors import ShoalError
from bot.hub.candidate import Candidate, Verdict
from bot.hub.client import Hub
from bot.hub.discovery import MAX_ANCESTORS, LookUp, discover_candidates, find_base, query_declared
from bot.hub.inspection import Member, Unfit, find_mismatch, inspect_base, inspect_source
from bot.hub.licences import (
    DeclaredLicence,
    ReleaseLicence,
    combine_licences,
    declare_licences,
    licence_conflict,
    licence_refusal,
)
from bot.watchlist.load import UnfitValueError
from bot.watchlist.watchlist import Watchlist
from merging.dtypes import element_bytes
from merging.tensor_names import count_layers
from templates.escaping import plain

OnProgress = Callable[[str], None]

Lineage = Mapping[str, tuple[DeclaredLicence, ...]]
"""For each member's repo, the licences of the ancestors that it declares."""


class NoPool(ShoalError):  # noqa: N818 - named after the finding
    """Fewer than two sources are left; `verdicts` says why, candidate by candidate."""

    def __init__(self, message: str, verdicts: tuple[Verdict, ...]) -> None:
        super().__init__(message)
        self.verdicts = verdicts


@dataclass(frozen=True)
class Pool:
    """Sources of one family, best first, with their base if there is one.

    verdicts: one for every candidate, the accepted first.
    lineage: for each member's repo, the licences of the ancestors that it declares.
    layers: number of layers of one model. noncommercial: the watchlist's key of that name.
    """

    base: Member | None
    sources: tuple[Member, ...]
    verdicts: tuple[Verdict, ...]
    lineage: tuple[tuple[str, tuple[DeclaredLicence, ...]], ...]
    licence: ReleaseLicence
    layers: int
    noncommercial: bool

    @property
    def members(self) -> tuple[Member, ...]:
        """The models that are fetched: the sources, then the base."""
        return (*self.sources, self.base) if self.base else self.sources

    @property
    def download_bytes(self) -> int:
        """Bytes to fetch for all members."""
        return sum(member.candidate.download_bytes for member in self.members)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all members' tensors."""
        return sum(member.weight_bytes for member in self.members)

    @property
    def parameters(self) -> int:
        """Number of weights of one model."""
        return self.sources[0].parameters

    def model_bytes(self, dtype: str) -> int:
        """Bytes of one merged model in `dtype` (float32, bfloat16 or float16)."""
        return self.parameters * element_bytes(dtype)


def find_pool(hub: Hub, watchlist: Watchlist, now: datetime, on_progress: OnProgress = lambda _: None) -> Pool:
    """Discover candidates and keep those that can be merged; no weights are read, and nothing is written.

    on_progress: called with a few words on the current step.

    Raises:
        NoPool: fewer than two sources are left.
        ShoalError: the base cannot be used, or the Hub cannot be asked.
    """
    on_progress("listing candidates")
    found = discover_candidates(hub, watchlist, now)
    if not found.candidates:
        raise NoPool(_explain_too_few((), found.refused), found.refused)
    look_up = cache(partial(query_declared, hub))
    base = find_base(hub, watchlist, found.candidates, look_up, now)
    if base is None and watchlist.base == "auto" and watchlist.needs_base:
        why = f"base: got 'auto': no candidate declares one, and {watchlist.search.method} needs it; name it"
        raise NoPool(why, found.refused)
    lineage = {base.repo: find_ancestors(look_up, base)} if base else {}
    inspected_base = inspect_base(hub, base) if base else None
    if inspected_base is not None:
        _check_licences(inspected_base, lineage, watchlist.noncommercial)
    members, unfit = _inspect_candidates(hub, found.candidates, base, on_progress)
    family, unrelated = keep_one_family(members, inspected_base)
    distinct, duplicates = drop_duplicates(family, inspected_base)
    lineage |= {member.repo: find_ancestors(look_up, member.candidate) for member in distinct}
    compatible, conflicting = keep_compatible_licences(distinct, inspected_base, lineage, watchlist.noncommercial)
    sources, surplus = compatible[: watchlist.max_sources], compatible[watchlist.max_sources :]
    limit = f"beyond max_sources ({watchlist.max_sources}): pinned models come first, then the most downloaded"
    over = [member.refuse(limit) for member in surplus]
    verdicts = [*over, *conflicting, *duplicates, *unrelated, *unfit, *found.refused]
    pool = assemble_pool(inspected_base, sources, verdicts, lineage, noncommercial=watchlist.noncommercial)
    bands = watchlist.search.groups.layers
    if bands > pool.layers:
        reason = f"the models have {pool.layers} layers; write at most that"
        raise UnfitValueError(("search", "groups", "layers"), str(bands), reason)
    return pool


def assemble_pool(
    base: Member | None,
    sources: Sequence[Member],
    verdicts: Iterable[Verdict],
    lineage: Lineage,
    *,
    noncommercial: bool,
) -> Pool:
    """The pool of these sources; NoPool if they are fewer than two."""
    kept = [Verdict(source.repo, source.sha, True, _acceptance_reason(source, base)) for source in sources]
    every = (*kept, *verdicts)
    if len(sources) < 2:
        raise NoPool(_explain_too_few(sources, every), every)
    members = _with_base(sources, base)
    declared = [entry for member in members for entry in _licences(member, lineage)]
    licence = combine_licences(declared, noncommercial=noncommercial)
    lineages = tuple((member.repo, lineage[member.repo]) for member in members)
    layers = count_layers(sources[0].headers)
    return Pool(base, tuple(sources), every, lineages, licence, layers, noncommercial)


def remove_members(pool: Pool, bad: Sequence[Verdict]) -> Pool:
    """The pool without the sources that `bad` refuses; NoPool if fewer than two are left."""
    gone = {verdict.repo for verdict in bad}
    if pool.base is not None and pool.base.repo in gone:
        reason = next(verdict.reason for verdict in bad if verdict.repo == pool.base.repo)
        raise NoPool(f"base: got {pool.base.repo!r}: {reason}; name another base in the watchlist", tuple(bad))
    left = [source for source in pool.sources if source.repo not in gone]
    others = [verdict for verdict in pool.verdicts if not verdict.accepted]
    lineage = dict(pool.lineage)
    return assemble_pool(pool.base, left, [*bad, *others], lineage, noncommercial=pool.noncommercial)


def keep_one_family(members: Sequence[Member], base: Member | None) -> tuple[list[Member], list[Verdict]]:
    """Keep the members whose weights can be averaged with the base's; without a base, the largest group that agrees.

    If two groups are equally large, the one with the better first member is kept (members come best first).
    """
    if base is not None:
        reference = base
    else:
        sizes = [sum(find_mismatch(one, other) is None for other in members) for one in members]
        if not sizes:
            return [], []
        reference = members[sizes.index(max(sizes))]
    kept, unrelated = [], []
    for member in members:
        reason = find_mismatch(reference, member)
        if reason is None:
            kept.append(member)
        else:
            unrelated.append(member.refuse(f"not of the family of {reference.repo}: {reason}"))
    return kept, unrelated


def drop_duplicates(members: Sequence[Member], base: Member | None) -> tuple[list[Member], list[Verdict]]:
    """Keep the first member of each set of weight files, compared by the Hub's hashes."""
    owners = {_weight_ids(base): f"the base {base.repo}"} if base else {}
    kept, duplicates = [], []
    for member in members:
        weights = _weight_ids(member)
        if weights in owners:
            duplicates.append(member.refuse(f"it has the same weights as {owners[weights]}"))
        else:
            owners[weights] = member.repo
            kept.append(member)
    return kept, duplicates


def keep_compatible_licences(
    members: Sequence[Member],
    base: Member | None,
    lineage: Lineage,
    noncommercial: bool,
) -> tuple[list[Member], list[Verdict]]:
    """Keep members whose licences, and their ancestors', are compatible with the base's and with earlier members'."""
    together = list(_licences(base, lineage)) if base else []
    kept, conflicting = [], []
    for member in members:
        own = _licences(member, lineage)
        reasons = [reason for entry in own if (reason := licence_refusal(entry, noncommercial=noncommercial))]
        reason = reasons[0] if reasons else licence_conflict([*together, *own])
        if reason is None:
            together += own
            kept.append(member)
        else:
            conflicting.append(member.refuse(reason))
    return kept, conflicting


def find_ancestors(look_up: LookUp, candidate: Candidate) -> tuple[DeclaredLicence, ...]:
    """The licences of all ancestors of a candidate, as its card and theirs declare them.

    They may form cycles, and name one model in several ways. A model that cannot be seen has an unknown licence.
    """
    found: dict[str, tuple[DeclaredLicence, ...]] = {}
    asked: set[str] = set()
    waiting = list(candidate.base_models)
    while waiting:
        name = waiting.pop(0)
        if name in asked or name == candidate.repo:
            continue
        if len(asked) == MAX_ANCESTORS:
            why = f"is beyond the {MAX_ANCESTORS} ancestors that are looked up"
            found[name] = (DeclaredLicence(plain(name)[:96], None, ancestor=True, unseen=why),)
            break
        asked.add(name)
        page = look_up(name)
        if page is None:
            why = "cannot be seen on the Hub"
            found[name] = (DeclaredLicence(plain(name)[:96], None, ancestor=True, unseen=why),)
        elif page.repo not in found and page.repo != candidate.repo:
            found[page.repo] = declare_licences(page, ancestor=True)
            waiting += page.base_models
    return tuple(entry for declared in found.values() for entry in declared)


def _check_licences(base: Member, lineage: Lineage, noncommercial: bool) -> None:
    """A base whose licence forbids merging stops the cycle, because all sources descend from it."""
    for entry in _licences(base, lineage):
        if reason := licence_refusal(entry, noncommercial=noncommercial):
            raise ShoalError(f"base: got {base.repo!r}: {reason}; name another base in the watchlist")


def _inspect_candidates(
    hub: Hub, candidates: Sequence[Candidate], base: Candidate | None, on_progress: OnProgress
) -> tuple[list[Member], list[Verdict]]:
    members, unfit = [], []
    for number, candidate in enumerate(candidates, 1):
        on_progress(f"reading headers {number}/{len(candidates)}: {candidate.repo}")
        if base is not None and candidate.repo == base.repo:
            unfit.append(candidate.refuse("it is the base of the others"))
            continue
        try:
            members.append(inspect_source(hub, candidate))
        except Unfit as error:
            unfit.append(candidate.refuse(str(error)))
    return members, unfit


def _with_base(members: Sequence[Member], base: Member | None) -> tuple[Member, ...]:
    return (*members, base) if base else tuple(members)


def _licences(member: Member, lineage: Lineage) -> tuple[DeclaredLicence, ...]:
    return (*declare_licences(member.candidate), *lineage[member.repo])


def _weight_ids(member: Member) -> tuple[str, ...]:
    return tuple(sorted(file.content_id or file.path for file in member.candidate.weight_files))


def _acceptance_reason(source: Member, base: Member | None) -> str:
    family = f"of the family of {base.repo}" if base else "of one family with the others"
    beside = source.candidate.flagged_beside
    warning = f"; the Hub's security scan warns of {plain(beside[0])[:60]}, which is not fetched" if beside else ""
    return f"{family}, {source.parameters:,} parameters, {source.candidate.licence}{warning}"


def _explain_too_few(sources: Sequence[Member], verdicts: Sequence[Verdict]) -> str:
    bad = [verdict for verdict in verdicts if not verdict.accepted]
    examples = "; ".join(f"{verdict.repo}: {verdict.reason}" for verdict in bad[:3])
    reasons = f"{len(bad)} refused ({examples}{'; …' if len(bad) > 3 else ''})" if bad else "nothing else was found"
    if sources:
        return f"one source only ({sources[0].repo}), a merge needs two: {reasons}; widen the watchlist"
    return f"no candidate left: {reasons}; widen the watchlist"

"""The pool: the sources that can be merged with each other, their base, and the licence of what comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from bot.errors import ShoalError
from bot.hub.candidate import Candidate, Verdict
from bot.hub.client import Hub, HubForbidden, HubNotFound, HubRefused
from bot.hub.discovery import discover, find_base, look
from bot.hub.inspection import Member, Unfit, inspect_base, inspect_source, mismatch, refused
from bot.hub.licences import Declared, ReleaseLicence, combine, conflict, refusal
from bot.watchlist.contradictions import needs_base
from bot.watchlist.watchlist import Watchlist
from merging.partition import layer_count
from templates.escaping import plain

MAX_ANCESTORS = 32
"""How many declared base models, and theirs, are looked at for one model; a longer list leaves licences unknown."""

OnProgress = Callable[[str], None]


class NoPool(ShoalError):  # noqa: N818 - says what is the matter
    """Fewer than two sources are left; `verdicts` says why, candidate by candidate."""

    def __init__(self, message: str, verdicts: tuple[Verdict, ...]) -> None:
        super().__init__(message)
        self.verdicts = verdicts


@dataclass(frozen=True)
class Pool:
    """Sources of one family, best first, with their base if there is one.

    verdicts: one for every candidate, accepted ones first.
    lineage: for each member's repo, the licences of the ancestors that it declares.
    layers: of one model. noncommercial: as the watchlist has it.
    """

    base: Member | None
    sources: tuple[Member, ...]
    verdicts: tuple[Verdict, ...]
    lineage: tuple[tuple[str, tuple[Declared, ...]], ...]
    licence: ReleaseLicence
    layers: int
    noncommercial: bool

    @property
    def members(self) -> tuple[Member, ...]:
        """All that is fetched: the sources, then the base."""
        return (*self.sources, self.base) if self.base else self.sources

    @property
    def download_bytes(self) -> int:
        """Bytes to fetch for all members."""
        return sum(member.candidate.download_bytes for member in self.members)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all members' tensors, which candidates are made of."""
        return sum(member.weight_bytes for member in self.members)

    @property
    def parameters(self) -> int:
        """Number of weights of one model."""
        return self.sources[0].parameters

    def model_bytes(self, dtype: str) -> int:
        """Bytes of one merged model in `dtype` (float32, bfloat16 or float16)."""
        return self.parameters * (4 if dtype == "float32" else 2)


def find_pool(hub: Hub, watchlist: Watchlist, now: datetime, on_progress: OnProgress = lambda _: None) -> Pool:
    """Discover candidates and keep those that can be merged; no weights are read, and nothing is written.

    tell: told in a few words what is being looked at.

    Raises:
        NoPool: fewer than two sources are left.
        ShoalError: the base cannot be used, or the Hub cannot be asked.
    """
    on_progress("listing candidates")
    found = discover(hub, watchlist, now)
    if not found.candidates:
        raise NoPool(_too_few((), found.refused), found.refused)
    base = find_base(hub, watchlist, found.candidates, now)
    if base is None and watchlist.base == "auto" and needs_base(watchlist.search):
        why = f"base: got 'auto': no candidate declares one, and {watchlist.search.method} needs it; name it"
        raise NoPool(why, found.refused)
    look_up = cache(lambda name: _page(hub, name))
    lineage = {base.repo: ancestors(look_up, base)} if base else {}
    inspected_base = inspect_base(hub, base) if base else None
    if inspected_base is not None:
        _check_licences(inspected_base, lineage, watchlist.noncommercial)
    members, unfit = _inspected(hub, found.candidates, base, on_progress)
    family, unrelated = of_one_family(members, inspected_base)
    distinct, duplicates = without_duplicates(family, inspected_base)
    lineage |= {member.repo: ancestors(look_up, member.candidate) for member in distinct}
    compatible, conflicting = with_compatible_licences(distinct, inspected_base, lineage, watchlist.noncommercial)
    sources, surplus = compatible[: watchlist.max_sources], compatible[watchlist.max_sources :]
    limit = f"beyond max_sources ({watchlist.max_sources}): pinned models come first, then the most downloaded"
    over = [refused(member, limit) for member in surplus]
    verdicts = [*over, *conflicting, *duplicates, *unrelated, *unfit, *found.refused]
    pool = assemble(inspected_base, sources, verdicts, lineage, noncommercial=watchlist.noncommercial)
    bands = watchlist.search.groups.layers
    if bands > pool.layers:
        told = f"the models have {pool.layers} layers; write at most that"
        raise ShoalError(f"search.groups.layers: got {bands}: {told}")
    return pool


def assemble(
    base: Member | None,
    sources: Sequence[Member],
    verdicts: Iterable[Verdict],
    lineage: dict[str, tuple[Declared, ...]],
    *,
    noncommercial: bool,
) -> Pool:
    """The pool of these sources; NoPool if they are fewer than two."""
    kept = [Verdict(source.repo, source.sha, True, _accepted(source, base)) for source in sources]
    every = (*kept, *verdicts)
    if len(sources) < 2:
        raise NoPool(_too_few(sources, every), every)
    members = _and_base(sources, base)
    declared = [entry for member in members for entry in _declared(member, lineage)]
    licence = combine(declared, noncommercial=noncommercial)
    kin = tuple((member.repo, lineage[member.repo]) for member in members)
    layers = layer_count(sources[0].headers)
    return Pool(base, tuple(sources), every, kin, licence, layers, noncommercial)


def without(pool: Pool, bad: Sequence[Verdict]) -> Pool:
    """The pool less the sources that `bad` refuses; NoPool if fewer than two are left."""
    gone = {verdict.repo for verdict in bad}
    if pool.base is not None and pool.base.repo in gone:
        reason = next(verdict.reason for verdict in bad if verdict.repo == pool.base.repo)
        raise NoPool(f"base: got {pool.base.repo!r}: {reason}; name another base in the watchlist", tuple(bad))
    left = [source for source in pool.sources if source.repo not in gone]
    others = [verdict for verdict in pool.verdicts if not verdict.accepted]
    lineage = dict(pool.lineage)
    return assemble(pool.base, left, [*bad, *others], lineage, noncommercial=pool.noncommercial)


def of_one_family(members: Sequence[Member], base: Member | None) -> tuple[list[Member], list[Verdict]]:
    """Those whose weights can be averaged with the base's; without a base, the largest group that agrees.

    Of groups equally large, the one with the best member (members come best first).
    """
    if base is not None:
        reference = base
    else:
        sizes = [sum(mismatch(one, other) is None for other in members) for one in members]
        if not sizes:
            return [], []
        reference = members[sizes.index(max(sizes))]
    kept, unrelated = [], []
    for member in members:
        reason = mismatch(reference, member)
        if reason is None:
            kept.append(member)
        else:
            unrelated.append(refused(member, f"not of the family of {reference.repo}: {reason}"))
    return kept, unrelated


def without_duplicates(members: Sequence[Member], base: Member | None) -> tuple[list[Member], list[Verdict]]:
    """Each set of weight files once, by the Hub's hashes: the first member keeps it."""
    owners = {_weights(base): f"the base {base.repo}"} if base else {}
    kept, duplicates = [], []
    for member in members:
        weights = _weights(member)
        if weights in owners:
            duplicates.append(refused(member, f"it has the same weights as {owners[weights]}"))
        else:
            owners[weights] = member.repo
            kept.append(member)
    return kept, duplicates


def with_compatible_licences(
    members: Sequence[Member],
    base: Member | None,
    lineage: dict[str, tuple[Declared, ...]],
    noncommercial: bool,
) -> tuple[list[Member], list[Verdict]]:
    """Members whose licences, and their ancestors', go together with the base's and with earlier ones."""
    together = list(_declared(base, lineage)) if base else []
    kept, conflicting = [], []
    for member in members:
        own = _declared(member, lineage)
        reasons = [reason for entry in own if (reason := refusal(entry, noncommercial=noncommercial))]
        reason = reasons[0] if reasons else conflict([*together, *own])
        if reason is None:
            together += own
            kept.append(member)
        else:
            conflicting.append(refused(member, reason))
    return kept, conflicting


def ancestors(look_up: Callable[[str], Candidate | None], candidate: Candidate) -> tuple[Declared, ...]:
    """The licences of the models that it declares to descend from, and of theirs.

    It is the authors' word and may be a circle. One that cannot be seen has a licence that nobody knows.
    """
    found: dict[str, Declared] = {}
    waiting = list(candidate.base_models)
    while waiting:
        name = waiting.pop(0)
        if name in found or name == candidate.repo:
            continue
        if len(found) == MAX_ANCESTORS:
            why = f"is beyond the {MAX_ANCESTORS} ancestors that are looked at"
            found[name] = Declared(plain(name)[:96], None, ancestor=True, unseen=why)
            break
        page = look_up(name)
        if page is None:
            found[name] = Declared(plain(name)[:96], None, ancestor=True, unseen="cannot be seen on the Hub")
        else:
            found[name] = Declared(page.repo, page.licence, ancestor=True)
            waiting += page.base_models
    return tuple(found.values())


def _page(hub: Hub, name: str) -> Candidate | None:
    """A model's own page; None for a name that was never a repo's, and for a repo that is gone or hidden."""
    try:
        return look(hub, name)
    except (HubNotFound, HubForbidden, HubRefused, ValueError):
        return None


def _check_licences(base: Member, lineage: dict[str, tuple[Declared, ...]], noncommercial: bool) -> None:
    """A base with a licence that keeps it out of every merge stops the cycle, as all sources descend from it."""
    for entry in _declared(base, lineage):
        if reason := refusal(entry, noncommercial=noncommercial):
            raise ShoalError(f"base: got {base.repo!r}: {reason}; name another base in the watchlist")


def _inspected(
    hub: Hub, candidates: Sequence[Candidate], base: Candidate | None, on_progress: OnProgress
) -> tuple[list[Member], list[Verdict]]:
    members, unfit = [], []
    for place, candidate in enumerate(candidates, 1):
        on_progress(f"reading headers {place}/{len(candidates)}: {candidate.repo}")
        if base is not None and candidate.repo == base.repo:
            unfit.append(refused(candidate, "it is the base of the others"))
            continue
        try:
            members.append(inspect_source(hub, candidate))
        except Unfit as error:
            unfit.append(refused(candidate, str(error)))
    return members, unfit


def _and_base(members: Sequence[Member], base: Member | None) -> tuple[Member, ...]:
    return (*members, base) if base else tuple(members)


def _declared(member: Member, lineage: dict[str, tuple[Declared, ...]]) -> tuple[Declared, ...]:
    return (Declared(member.repo, member.candidate.licence), *lineage[member.repo])


def _weights(member: Member) -> tuple[str, ...]:
    return tuple(sorted(file.content_id or file.path for file in member.candidate.weight_files))


def _accepted(source: Member, base: Member | None) -> str:
    kin = f"of the family of {base.repo}" if base else "of one family with the others"
    return f"{kin}, {source.parameters:,} parameters, {source.candidate.licence}"


def _too_few(sources: Sequence[Member], verdicts: Sequence[Verdict]) -> str:
    bad = [verdict for verdict in verdicts if not verdict.accepted]
    examples = "; ".join(f"{verdict.repo}: {verdict.reason}" for verdict in bad[:3])
    reasons = f"{len(bad)} refused ({examples}{'; …' if len(bad) > 3 else ''})" if bad else "nothing else was found"
    if sources:
        return f"one source only ({sources[0].repo}), a merge needs two: {reasons}; widen the watchlist"
    return f"no candidate left: {reasons}; widen the watchlist"

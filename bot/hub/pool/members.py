"""Inspects a watchlist's candidates: whole models and adapters first, then parts of models, within the carrier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bot.hub.client import Hub
from bot.hub.discovery.candidate import Candidate, Verdict
from bot.hub.discovery.rules import adapter_not_wanted, not_whole, wrong_size
from bot.hub.inspection.lora import tell_file
from bot.hub.inspection.member import Member, Unfit
from bot.hub.inspection.part import inspect_within
from bot.hub.inspection.reading import inspect_source
from bot.hub.pool.adapters import AdapterBases
from bot.hub.pool.carrier import choose_carrier
from bot.watchlist.watchlist import Watchlist

OnProgress = Callable[[str], None]


@dataclass(frozen=True)
class InspectedMembers:
    """The candidates that can be read, best first, and the verdicts on all others.

    carrier: the one among them, or the base, in which merges are built; None where models have one component.
    """

    members: tuple[Member, ...]
    unfit: tuple[Verdict, ...]
    carrier: Member | None


def inspect_members(
    hub: Hub,
    watchlist: Watchlist,
    candidates: Sequence[Candidate],
    refused: Sequence[Verdict],
    bases: AdapterBases,
    on_progress: OnProgress,
) -> InspectedMembers:
    """Read what can be known of each candidate without its weights, and choose the carrier.

    candidates: best first. refused: the verdicts on what is none. Raises as `choose_carrier`.
    """
    whole, parts, unfit = [], [], []
    for number, candidate in enumerate(candidates, 1):
        on_progress(f"reading headers {number}/{len(candidates)}: {candidate.repo}")
        try:
            told = _tell(hub, watchlist, candidate, bases)
            if told.is_part:
                parts.append(told)
            else:
                member = bases.inspect(told) if told.is_adapter else inspect_source(hub, told)
                whole.append(_of_wanted_size(member, watchlist, bases.now))
        except Unfit as error:
            unfit.append(candidate.refuse(str(error)))
    no_carriers = [part.refuse(not_whole(part, None, None) or "") for part in parts]
    carrier = choose_carrier(watchlist, whole, bases.base, bases.look_up, [*no_carriers, *unfit, *refused])
    members = list(whole)
    for part in parts if carrier else ():
        assert carrier is not None  # there are parts where there are several components
        try:
            members.append(_of_wanted_size(inspect_within(hub, part, carrier), watchlist, bases.now))
        except Unfit as error:
            unfit.append(part.refuse(f"not of the family of {carrier.repo}: {error}"))
    ranks = {candidate.repo: rank for rank, candidate in enumerate(candidates)}
    return InspectedMembers(tuple(sorted(members, key=lambda one: ranks[one.repo])), tuple(unfit), carrier)


def _tell(hub: Hub, watchlist: Watchlist, candidate: Candidate, bases: AdapterBases) -> Candidate:
    """The candidate as what its files show; Unfit where that is not wanted."""
    if bases.base is not None and candidate.repo == bases.base.repo:
        file = candidate.meant_file
        once = f", and a pool has a repo once, so {file} cannot be a source" if file else ""
        raise Unfit(f"it is the base of the others{once}")
    told = tell_file(hub, candidate)
    if reason := adapter_not_wanted(told, watchlist, bases.now):
        raise Unfit(reason)
    return told


def _of_wanted_size(member: Member, watchlist: Watchlist, now: datetime) -> Member:
    """The member itself; Unfit for a size that is not wanted. The Hub counts the parameters of safetensors alone."""
    candidate = member.candidate
    counted = replace(candidate, parameters=candidate.parameters or member.parameters)
    if reason := wrong_size(counted, watchlist, now):
        raise Unfit(reason)
    return member

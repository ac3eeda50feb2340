"""Finds the models of a watchlist that can be merged: discovers candidates, and keeps those of one family."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache, partial

from bot.errors import ShoalError
from bot.hub.client import Hub
from bot.hub.discovery.candidate import Verdict
from bot.hub.discovery.listing import (
    LookUp,
    discover_candidates,
    find_base,
    query_declared,
    with_statements,
)
from bot.hub.inspection.member import Member
from bot.hub.inspection.reading import inspect_base
from bot.hub.licences import DeclaredLicence, licence_refusal
from bot.hub.pool.adapters import AdapterBases
from bot.hub.pool.carrier import check_named_carrier, check_picture_size
from bot.hub.pool.choice import choose_by_rank
from bot.hub.pool.family import drop_duplicates, keep_one_family
from bot.hub.pool.last_stage import find_last_stage
from bot.hub.pool.lineage import Licensed, Lineage, find_ancestors, member_licences, refuse_licences
from bot.hub.pool.members import OnProgress, inspect_members
from bot.hub.pool.pool import Family, NoPool, Pool, assemble_family, explain_too_few
from bot.hub.pool.unite import keep_unitable, read_from_hub, with_vocabulary
from bot.hub.pool.vocabulary import SAME
from bot.watchlist.load import UnfitValueError
from bot.watchlist.watchlist import Watchlist


def take_first(hub: Hub, watchlist: Watchlist, family: Family) -> Pool:
    """The pool of a family's first sources by rank, with the vocabulary of their merges."""
    pool = choose_by_rank(family, watchlist.max_sources)
    return with_vocabulary(pool, watchlist.search.vocabulary, read_from_hub(hub))


def find_family(hub: Hub, watchlist: Watchlist, now: datetime, on_progress: OnProgress = lambda _: None) -> Family:
    """Discover candidates and keep those that can be merged; no weights are read, and nothing is written.

    on_progress: called with a few words on the current step.

    Raises:
        NoPool: fewer than two sources are left.
        ShoalError: the base or the carrier cannot be used, or the Hub cannot be asked.
    """
    on_progress("listing candidates")
    found = discover_candidates(hub, watchlist, now)
    if not found.candidates:
        raise NoPool(explain_too_few((), found.refused), found.refused)
    look_up: LookUp = cache(partial(query_declared, hub))
    base = find_base(hub, watchlist, found.candidates, look_up, now)
    if base is None and watchlist.base == "auto" and watchlist.needs_base:
        why = f"base: got 'auto': no candidate declares one, and {watchlist.search.method} needs it; name it"
        raise NoPool(why, found.refused)
    look_up = with_statements(look_up, [*found.candidates, *([base] if base else [])])
    lineage = {base.repo: find_ancestors(look_up, base)} if base else {}
    inspected_base = inspect_base(hub, base) if base else None
    if inspected_base is not None:
        _check_licences(inspected_base, lineage, watchlist.noncommercial, "base", "base")
    bases = AdapterBases.of(hub, watchlist, now, look_up, inspected_base, found.candidates)
    inspected = inspect_members(hub, watchlist, found.candidates, found.refused, bases, on_progress)
    members, carrier = inspected.members, inspected.carrier
    united = watchlist.search.vocabulary != SAME
    components = watchlist.search.components
    related, unrelated = keep_one_family(members, carrier or inspected_base, united=united, components=components)
    distinct, duplicates = drop_duplicates(related, inspected_base, components)
    lineage |= {member.repo: _find_ancestors(look_up, member) for member in distinct}
    last_stage = find_last_stage(hub, watchlist, carrier or inspected_base or members[0], now) if members else None
    if last_stage is not None:
        lineage |= {last_stage.repo: find_ancestors(look_up, last_stage.candidate)}
        _check_licences(last_stage, lineage, watchlist.noncommercial, "search.last_stage", "adapter")
    given = [one for one in (inspected_base, last_stage) if one is not None]
    licensed, forbidden = _keep_licensed(distinct, given, lineage, watchlist.noncommercial)
    if united:
        on_progress("comparing tokenizers")
        licensed, strange = keep_unitable(licensed, inspected_base, read_from_hub(hub))
        forbidden += strange
    verdicts = [*forbidden, *duplicates, *unrelated, *inspected.unfit, *found.refused]
    check_named_carrier(watchlist, [*licensed, *([inspected_base] if inspected_base else [])], look_up, verdicts)
    family = assemble_family(
        inspected_base,
        licensed,
        verdicts,
        lineage,
        noncommercial=watchlist.noncommercial,
        kind=watchlist.kind,
        carrier=carrier,
        last_stage=last_stage,
        picture_size=watchlist.picture_size,
    )
    check_picture_size(hub, watchlist, family)
    bands = watchlist.search.groups.layers
    if bands > family.layers:
        reason = f"the models have {family.layers} layers; write at most that"
        raise UnfitValueError(("search", "groups", "layers"), str(bands), reason)
    return family


def _keep_licensed(
    members: Sequence[Member], given: Sequence[Licensed], lineage: Lineage, noncommercial: bool
) -> tuple[list[Member], list[Verdict]]:
    """Keep members whose licences, and their ancestors', allow a merge with what is given."""
    reasons = [refuse_licences(member, given, lineage, noncommercial) for member in members]
    kept = [member for member, reason in zip(members, reasons, strict=True) if reason is None]
    return kept, [member.refuse(reason) for member, reason in zip(members, reasons, strict=True) if reason]


def _find_ancestors(look_up: LookUp, member: Member) -> tuple[DeclaredLicence, ...]:
    """A member's ancestors, the base of an adapter among them whatever its card says."""
    return find_ancestors(look_up, member.candidate, [one.repo for one in member.remotes if one.repo != member.repo])


def _check_licences(given: Licensed, lineage: Lineage, noncommercial: bool, key: str, what: str) -> None:
    """A licence that forbids merging, of what all merges have, stops the cycle. key, what: the watchlist's."""
    for entry in member_licences(given, lineage):
        if reason := licence_refusal(entry, noncommercial=noncommercial):
            raise ShoalError(f"{key}: got {given.repo!r}: {reason}; name another {what} in the watchlist")

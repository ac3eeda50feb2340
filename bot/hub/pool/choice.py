"""Chooses the pool among a family's sources: by rank, or those that may audition for it."""

from __future__ import annotations

from bot.hub.pool.lineage import keep_compatible_licences
from bot.hub.pool.pool import Family, Pool, choose_pool
from bot.watchlist.watchlist import Watchlist

_BY_RANK = "pinned models come first, then the most downloaded"


def choose_by_rank(family: Family, places: int) -> Pool:
    """The pool of the best sources by rank, as many as there are places for; NoPool if fewer than two go together."""
    lineage = dict(family.lineage)
    compatible, conflicting = keep_compatible_licences(family.sources, family.given, lineage, family.noncommercial)
    surplus = [member.refuse(f"beyond max_sources ({places}): {_BY_RANK}") for member in compatible[places:]]
    return choose_pool(family, compatible[:places], [*surplus, *conflicting])


def needs_audition(watchlist: Watchlist, family: Family) -> bool:
    """Whether an audition chooses the sources: more fit than there are places, and pinned ones leave a place."""
    return watchlist.audition is not None and len(family.pinned) < watchlist.max_sources < len(family.sources)


def invite_to_audition(watchlist: Watchlist, family: Family) -> Family:
    """The sources that are compared in an audition, best first."""
    most = watchlist.most_auditioned
    limit = f"beyond audition.sources ({most}): {_BY_RANK}"
    return family.with_sources(family.sources[:most], [source.refuse(limit) for source in family.sources[most:]])

"""Chooses the pool among a family's sources."""

from __future__ import annotations

from bot.hub.pool.lineage import keep_compatible_licences
from bot.hub.pool.pool import Family, Pool, choose_pool


def choose_by_rank(family: Family, places: int) -> Pool:
    """The pool of the best sources by rank, as many as there are places for; NoPool if fewer than two go together."""
    lineage = dict(family.lineage)
    compatible, conflicting = keep_compatible_licences(family.sources, family.base, lineage, family.noncommercial)
    limit = f"beyond max_sources ({places}): pinned models come first, then the most downloaded"
    surplus = [member.refuse(limit) for member in compatible[places:]]
    return choose_pool(family, compatible[:places], [*surplus, *conflicting])

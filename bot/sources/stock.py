"""The first steps of a cycle: what can be known to fail later is checked, then the pool is found and fetched."""

from __future__ import annotations

from pathlib import Path

from bot.contest.search import wanted_skills
from bot.hub import Hub
from bot.ledger.book import SourceEntry, State
from bot.shop import Shop, now
from bot.sources.fetch import SourceGone, fetch
from bot.sources.pool import Pool, find_pool
from bot.watchlist.model import Watchlist
from evaluation.tasks import load_tasks
from merging.recipe import SourceRef


def check_before(watchlist: Watchlist, hub: Hub) -> None:
    """Find out before the search what would only fail after it: the namespace and the tasks."""
    if watchlist.publish.mode != "off" and watchlist.publish.namespace is not None:
        hub.check_can_write(watchlist.publish.namespace)
    load_tasks(wanted_skills(watchlist), [Path(folder) for folder in watchlist.task_folders])


def stock(shop: Shop) -> tuple[Pool, dict[SourceRef, Path]]:
    """The cycle's pool, fixed when the cycle first finds it, and its checkpoints on this machine."""
    found = shop.ledger.kept(shop.cycle, "pool", Pool)
    if found is None:
        with shop.narrator.bar("looking", None) as advance:
            found = find_pool(shop.hub, shop.watchlist, now(), lambda words: advance(0, words))
    with shop.narrator.bar("fetching", found.download_bytes) as advance:
        try:
            fetched = fetch(shop.hub, found, shop.home.sources, lambda repo, count: advance(count, repo))
        except SourceGone:
            shop.ledger.forget(shop.cycle, "pool")  # the next run finds one without it
            raise
    pool = fetched.pool
    _record(shop, pool)
    for verdict in sorted(pool.verdicts, key=lambda one: one.accepted):
        shop.narrator.say(f"{'taken  ' if verdict.accepted else 'refused'}  {verdict.repo}: {verdict.reason}")
    return pool, dict(fetched.folders)


def done_before(shop: Shop) -> str | None:
    """The earlier cycle that had these very sources under this very watchlist; None where there is something new."""
    members = _members(shop, shop.cycle)
    final = {State.PUBLISHED, State.REVIEW, State.NOTHING}
    if shop.watchlist.publish.mode == "off":
        final.add(State.WRITTEN)
    for earlier in shop.ledger.cycles(shop.watchlist.name):
        same_words = earlier.digest == shop.watchlist.digest and earlier.state in final
        if same_words and _members(shop, earlier.id) == members:
            return earlier.id
    return None


def _record(shop: Shop, pool: Pool) -> None:
    """Put the pool into the ledger: whole, to go on with, and by rows, to be asked."""
    entries = [SourceEntry(one.repo, one.sha, "source", one.candidate.licence or "") for one in pool.sources]
    if pool.base is not None:
        entries.append(SourceEntry(pool.base.repo, pool.base.sha, "base", pool.base.candidate.licence or ""))
    shop.ledger.keep(shop.cycle, "pool", pool, Pool)
    shop.ledger.record_pool(shop.cycle, pool.verdicts, entries)


def _members(shop: Shop, cycle: str) -> set[tuple[str, str, str]]:
    return {(entry.repo, entry.sha, entry.role) for entry in shop.ledger.sources(cycle)}

"""The first steps of a cycle: what can be known to fail later is checked, then the pool is found and fetched."""

from __future__ import annotations

from pathlib import Path

from bot.contest.search import wanted_skills
from bot.contest.spaces import make_spaces
from bot.hub import Hub
from bot.ledger.book import Cycle, SourceEntry, State
from bot.shop import Shop, now
from bot.sources.fetch import SourceGone, fetch
from bot.sources.inspection import refused
from bot.sources.pool import NoPool, Pool, find_pool, without
from bot.watchlist.model import Watchlist
from evaluation.tasks import load_tasks
from merging.recipe import SourceRef

DAMAGED = "damaged: "
"""How the reasons begin that `fetch` gives: of a commit's content, which never changes."""


def check_before(watchlist: Watchlist, hub: Hub) -> None:
    """Find out before the search what would only fail after it: the namespace and the tasks."""
    if watchlist.publish.mode != "off" and watchlist.publish.namespace is not None:
        hub.check_can_write(watchlist.publish.namespace)
    load_tasks(wanted_skills(watchlist), [Path(folder) for folder in watchlist.task_folders])


def stock(shop: Shop) -> tuple[Pool, dict[SourceRef, Path]]:
    """The cycle's pool, fixed when the cycle first finds it, and its checkpoints on this machine.

    Raises, before any weights are fetched, what `make_spaces` raises of a pool that does not fit the search.
    """
    try:
        pool, folders = _find_and_fetch(shop)
    except NoPool as error:
        shop.ledger.record_pool(shop.cycle, error.verdicts, ())
        raise
    _record(shop, pool)
    for verdict in sorted(pool.verdicts, key=lambda one: one.accepted):
        shop.narrator.say(f"{'taken  ' if verdict.accepted else 'refused'}  {verdict.repo}: {verdict.reason}")
    return pool, folders


def _find_and_fetch(shop: Shop) -> tuple[Pool, dict[SourceRef, Path]]:
    found = shop.ledger.kept(shop.cycle, "pool", Pool)
    if found is None:
        with shop.narrator.bar("looking", None) as advance:
            found = find_pool(shop.hub, shop.watchlist, now(), lambda words: advance(0, words))
        found = _without_known_damage(shop, found)
    make_spaces(shop.watchlist, found)  # a family that cannot be searched as asked is refused before its weights come
    with shop.narrator.bar("fetching", found.download_bytes, in_bytes=True) as advance:
        try:
            fetched = fetch(shop.hub, found, shop.home.sources, lambda repo, count: advance(count, repo))
        except SourceGone:
            shop.ledger.forget(shop.cycle, "pool")  # the next run finds one without it
            raise
    return fetched.pool, dict(fetched.folders)


def _without_known_damage(shop: Shop, pool: Pool) -> Pool:
    """The pool less the members that an earlier cycle fetched at the same commit and found damaged."""
    known = [
        refused(member, reason)
        for member in pool.members
        for reason in shop.ledger.refusals(member.repo, member.sha)
        if reason.startswith(DAMAGED)
    ]
    return without(pool, known) if known else pool


def done_before(shop: Shop, exams: tuple[str, ...]) -> str | None:
    """The earlier cycle that had these very sources, exams and words; None where there is something new.

    One that only wrote its releases counts only while nothing is to be published, and one that published, only
    if the releases would go to the same place.
    """
    members = _members(shop, shop.cycle)
    for earlier in shop.ledger.cycles(shop.watchlist.name):
        if (
            earlier.digest == shop.watchlist.digest
            and _settled(shop, earlier)
            and shop.ledger.kept(earlier.id, "exams", tuple[str, ...]) == exams
            and _members(shop, earlier.id) == members
        ):
            return earlier.id
    return None


def _settled(shop: Shop, earlier: Cycle) -> bool:
    """Whether nothing is left to do about what an earlier cycle found."""
    if earlier.state is State.NOTHING:
        return True
    if shop.watchlist.publish.mode == "off":
        return earlier.state in (State.PUBLISHED, State.REVIEW, State.WRITTEN)
    words = shop.ledger.kept(earlier.id, "watchlist", Watchlist)
    if words is None or earlier.state not in (State.PUBLISHED, State.REVIEW):
        return False
    now_asked, then_asked = shop.watchlist.publish, words.publish
    return (now_asked.namespace, now_asked.name) == (then_asked.namespace, then_asked.name)


def _record(shop: Shop, pool: Pool) -> None:
    """Put the pool into the ledger: whole, to go on with, and by rows, to be asked."""
    entries = [SourceEntry(one.repo, one.sha, "source", one.candidate.licence or "") for one in pool.sources]
    if pool.base is not None:
        entries.append(SourceEntry(pool.base.repo, pool.base.sha, "base", pool.base.candidate.licence or ""))
    shop.ledger.keep(shop.cycle, "pool", pool, Pool)
    shop.ledger.record_pool(shop.cycle, pool.verdicts, entries)


def _members(shop: Shop, cycle: str) -> set[tuple[str, str, str]]:
    return {(entry.repo, entry.sha, entry.role) for entry in shop.ledger.sources(cycle)}

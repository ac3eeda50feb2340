"""The first steps of a cycle: what can be known to fail later is checked, then the pool is found and fetched."""

from __future__ import annotations

from pathlib import Path

from bot.context import CycleContext, now
from bot.hub.client import Hub
from bot.hub.download import SourceGone, fetch
from bot.hub.inspection import refused
from bot.hub.pool import NoPool, Pool, find_pool, without
from bot.ledger.ledger import Cycle, SourceEntry, State
from bot.search.run import evaluation_skills
from bot.search.spaces import make_spaces
from bot.watchlist.watchlist import Watchlist
from evaluation.harness.tasks import load_tasks
from merging.recipes.weight_merge import ModelId

DAMAGED = "damaged: "
"""How the reasons begin that `fetch` gives: of a commit's content, which never changes."""


def check_before(watchlist: Watchlist, hub: Hub) -> None:
    """Find out before the search what would only fail after it: the namespace and the tasks."""
    if watchlist.publish.mode != "off" and watchlist.publish.namespace is not None:
        hub.check_can_write(watchlist.publish.namespace)
    load_tasks(evaluation_skills(watchlist), [Path(folder) for folder in watchlist.task_folders])


def stock(context: CycleContext) -> tuple[Pool, dict[ModelId, Path]]:
    """The cycle's pool, fixed when the cycle first finds it, and its checkpoints on this machine.

    Raises, before any weights are fetched, what `make_spaces` raises of a pool that does not fit the search.
    """
    try:
        pool, folders = _find_and_fetch(context)
    except NoPool as error:
        context.ledger.record_pool(context.cycle, error.verdicts, ())
        raise
    _record(context, pool)
    for verdict in sorted(pool.verdicts, key=lambda one: one.accepted):
        context.narrator.say(f"{'taken  ' if verdict.accepted else 'refused'}  {verdict.repo}: {verdict.reason}")
    return pool, folders


def _find_and_fetch(context: CycleContext) -> tuple[Pool, dict[ModelId, Path]]:
    found = context.ledger.kept(context.cycle, "pool", Pool)
    if found is None:
        with context.narrator.bar("looking", None) as advance:
            found = find_pool(context.hub, context.watchlist, now(), lambda words: advance(0, words))
        found = _without_known_damage(context, found)
    make_spaces(
        context.watchlist, found
    )  # a family that cannot be searched as asked is refused before its weights come
    with context.narrator.bar("fetching", found.download_bytes, in_bytes=True) as advance:
        try:
            fetched = fetch(context.hub, found, context.home.sources, lambda repo, count: advance(count, repo))
        except SourceGone:
            context.ledger.forget(context.cycle, "pool")  # the next run finds one without it
            raise
    return fetched.pool, dict(fetched.folders)


def _without_known_damage(context: CycleContext, pool: Pool) -> Pool:
    """The pool less the members that an earlier cycle fetched at the same commit and found damaged."""
    known = [
        refused(member, reason)
        for member in pool.members
        for reason in context.ledger.refusals(member.repo, member.sha)
        if reason.startswith(DAMAGED)
    ]
    return without(pool, known) if known else pool


def done_before(context: CycleContext, eval_sets: tuple[str, ...]) -> str | None:
    """The earlier cycle that had these very sources, exams and words; None where there is something new.

    One that only wrote its releases counts only while nothing is to be published, and one that published, only
    if the releases would go to the same place.
    """
    members = _members(context, context.cycle)
    for earlier in context.ledger.cycles(context.watchlist.name):
        if (
            earlier.digest == context.watchlist.digest
            and _settled(context, earlier)
            and context.ledger.kept(earlier.id, "exams", tuple[str, ...]) == eval_sets
            and _members(context, earlier.id) == members
        ):
            return earlier.id
    return None


def _settled(context: CycleContext, earlier: Cycle) -> bool:
    """Whether nothing is left to do about what an earlier cycle found."""
    if earlier.state is State.NOTHING:
        return True
    if context.watchlist.publish.mode == "off":
        return earlier.state in (State.PUBLISHED, State.REVIEW, State.WRITTEN)
    words = context.ledger.kept(earlier.id, "watchlist", Watchlist)
    if words is None or earlier.state not in (State.PUBLISHED, State.REVIEW):
        return False
    now_asked, then_asked = context.watchlist.publish, words.publish
    return (now_asked.namespace, now_asked.name) == (then_asked.namespace, then_asked.name)


def _record(context: CycleContext, pool: Pool) -> None:
    """Put the pool into the ledger: whole, to go on with, and by rows, to be asked."""
    entries = [SourceEntry(one.repo, one.sha, "source", one.candidate.licence or "") for one in pool.sources]
    if pool.base is not None:
        entries.append(SourceEntry(pool.base.repo, pool.base.sha, "base", pool.base.candidate.licence or ""))
    context.ledger.keep(context.cycle, "pool", pool, Pool)
    context.ledger.record_pool(context.cycle, pool.verdicts, entries)


def _members(context: CycleContext, cycle: str) -> set[tuple[str, str, str]]:
    return {(entry.repo, entry.sha, entry.role) for entry in context.ledger.sources(cycle)}

"""The last steps of a cycle: releases go onto the Hub, wait for a person, or stay here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bot.context import CycleContext, now
from bot.errors import ShoalError
from bot.home import Home
from bot.ledger.ledger import Ledger, ReleaseEntry, State
from bot.release.publish import Upload, check_free, collect, publish
from bot.search.selection import repo_name, roles


def release_repo(context: CycleContext, role: str, prefix: str | None) -> str:
    """The repo of a release by its role; `prefix` is what the licence asks names to start with."""
    settings = context.watchlist.publish
    name = repo_name(settings.name, context.watchlist.name, context.number, role, prefix)
    return f"{settings.namespace}/{name}" if settings.namespace else name


def check_names(context: CycleContext, prefix: str | None) -> None:
    """ShoalError, before the search, if a repo that a release could go to is a person's own."""
    if context.watchlist.publish.mode == "off":
        return
    skills = [skill.name for skill in context.watchlist.skills]
    for role in roles(skills, context.watchlist.search.dataflow.smaller):
        check_free(context.hub, release_repo(context, role, prefix), context.watchlist.publish.private)


@dataclass(frozen=True)
class Ending:
    """How a cycle ends: its state, and a line on it."""

    state: State
    note: str


def release_or_hold(context: CycleContext) -> Ending:
    """Do with the cycle's releases what the watchlist's publish.mode says."""
    releases = context.ledger.releases(context.cycle)
    if not releases:
        return Ending(State.NOTHING, "no merge beat its sources and the plain merges")
    if context.watchlist.publish.mode == "off":
        return Ending(State.WRITTEN, f"{len(releases)} releases lie in {context.home.releases(context.cycle)}")
    if context.watchlist.publish.mode == "review":
        waiting = f"{len(releases)} releases wait; look at them, then: shoal publish {context.cycle}"
        return Ending(State.REVIEW, waiting)
    return upload_all(context)


def upload_all(context: CycleContext) -> Ending:
    """Publish every release of the cycle and file them in the collection; what is there already is not sent again."""
    releases = context.ledger.releases(context.cycle)
    fresh = sum([_upload(context, release) for release in releases])
    settings = context.watchlist.publish
    if settings.collection and settings.namespace:
        notes = {release.repo: f"{release.role}, cycle {context.cycle}" for release in releases}
        collect(context.hub, settings.namespace, settings.collection, notes, settings.private)
    again = f", {len(releases) - fresh} were there already" if fresh < len(releases) else ""
    names = ", ".join(release.repo for release in releases)
    return Ending(State.PUBLISHED, f"{fresh} releases published{again}: {names}")


def require_waiting(ledger: Ledger, home: Home, cycle: str) -> None:
    """ShoalError unless the cycle has releases that a person may send off now."""
    entry = ledger.cycle(cycle)
    if entry.state not in (State.REVIEW, State.PUBLISHED):
        raise ShoalError(f"cycle {cycle}: is {entry.state}, not waiting for review; see `shoal show {cycle}`")
    for release in ledger.releases(cycle):
        if not home.release(cycle, release.role).is_dir():
            raise ShoalError(
                f"{home.release(cycle, release.role)}: the release's folder is gone; run the watchlist again"
            )


def _upload(context: CycleContext, release: ReleaseEntry) -> bool:
    """Publish one release unless the ledger says that its repo holds this recipe; returns whether it was sent."""
    there = context.ledger.last_published(release.repo)
    if there is not None and there.recipe == release.recipe:
        context.ledger.record_release(replace(release, commit=there.commit), now())
        return False
    folder: Path = context.home.release(context.cycle, release.role)
    commit = publish(
        context.hub,
        Upload(
            folder=folder,
            files=release.files,
            repo=release.repo,
            private=context.watchlist.publish.private,
            tag=context.cycle,
            message=f"Release {release.role} of cycle {context.cycle}",
        ),
    )
    context.ledger.record_release(replace(release, commit=commit), now())
    context.narrator.say(f"published {release.repo} at {commit[:12]}")
    return True

"""The last steps of a cycle: releases go onto the Hub, wait for a person, or stay here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bot.contest.selection import repo_name, roles
from bot.errors import ShoalError
from bot.home import Home
from bot.ledger.book import Ledger, ReleaseEntry, State
from bot.releases.publish import Upload, check_free, collect, publish
from bot.shop import Shop, now


def release_repo(shop: Shop, role: str, prefix: str | None) -> str:
    """The repo of a release by its role; `prefix` is what the licence asks names to start with."""
    settings = shop.watchlist.publish
    name = repo_name(settings.name, shop.watchlist.name, shop.number, role, prefix)
    return f"{settings.namespace}/{name}" if settings.namespace else name


def check_names(shop: Shop, prefix: str | None) -> None:
    """ShoalError, before the search, if a repo that a release could go to is a person's own."""
    if shop.watchlist.publish.mode == "off":
        return
    skills = [skill.name for skill in shop.watchlist.skills]
    for role in roles(skills, shop.watchlist.search.dataflow.smaller):
        check_free(shop.hub, release_repo(shop, role, prefix), shop.watchlist.publish.private)


@dataclass(frozen=True)
class Ending:
    """How a cycle ends: its state, and a line on it."""

    state: State
    note: str


def hand_over(shop: Shop) -> Ending:
    """Do with the cycle's releases what the watchlist's publish.mode says."""
    releases = shop.ledger.releases(shop.cycle)
    if not releases:
        return Ending(State.NOTHING, "no merge beat its sources and the plain merges")
    if shop.watchlist.publish.mode == "off":
        return Ending(State.WRITTEN, f"{len(releases)} releases lie in {shop.home.releases(shop.cycle)}")
    if shop.watchlist.publish.mode == "review":
        waiting = f"{len(releases)} releases wait; look at them, then: shoal publish {shop.cycle}"
        return Ending(State.REVIEW, waiting)
    return upload_all(shop)


def upload_all(shop: Shop) -> Ending:
    """Publish every release of the cycle and file them in the collection; what is there already is not sent again."""
    releases = shop.ledger.releases(shop.cycle)
    fresh = sum([_upload(shop, release) for release in releases])
    settings = shop.watchlist.publish
    if settings.collection and settings.namespace:
        notes = {release.repo: f"{release.role}, cycle {shop.cycle}" for release in releases}
        collect(shop.hub, settings.namespace, settings.collection, notes, settings.private)
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


def _upload(shop: Shop, release: ReleaseEntry) -> bool:
    """Publish one release unless the ledger says that its repo holds this recipe; returns whether it was sent."""
    there = shop.ledger.last_published(release.repo)
    if there is not None and there.recipe == release.recipe:
        shop.ledger.record_release(replace(release, commit=there.commit), now())
        return False
    folder: Path = shop.home.release(shop.cycle, release.role)
    commit = publish(
        shop.hub,
        Upload(
            folder=folder,
            files=release.files,
            repo=release.repo,
            private=shop.watchlist.publish.private,
            tag=shop.cycle,
            message=f"Release {release.role} of cycle {shop.cycle}",
        ),
    )
    shop.ledger.record_release(replace(release, commit=commit), now())
    shop.narrator.say(f"published {release.repo} at {commit[:12]}")
    return True

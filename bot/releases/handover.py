"""The last steps of a cycle: releases go onto the Hub, wait for a person, or stay here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bot.errors import ShoalError
from bot.home import Home
from bot.ledger.book import Ledger, ReleaseEntry, State
from bot.releases.publish import Upload, collect, publish
from bot.shop import Shop, now


def hand_over(shop: Shop) -> None:
    """End the cycle as the watchlist's publish.mode says."""
    releases = shop.ledger.releases(shop.cycle)
    if not releases:
        shop.finish(State.NOTHING, "no merge beat its sources and the plain merges")
    elif shop.watchlist.publish.mode == "off":
        shop.finish(State.WRITTEN, f"{len(releases)} releases lie in {shop.home.releases(shop.cycle)}")
    elif shop.watchlist.publish.mode == "review":
        shop.finish(State.REVIEW, f"{len(releases)} releases wait; look at them, then: shoal publish {shop.cycle}")
    else:
        upload_all(shop)


def upload_all(shop: Shop) -> None:
    """Publish every release of the cycle, file them in the collection, and close the cycle."""
    releases = shop.ledger.releases(shop.cycle)
    uploaded = [_upload(shop, release) for release in releases]
    settings = shop.watchlist.publish
    if settings.collection and settings.namespace:
        notes = {release.repo: f"{release.role}, cycle {shop.cycle}" for release in releases}
        collect(shop.hub, settings.namespace, settings.collection, notes, settings.private)
    fresh = sum(uploaded)
    again = f", {len(releases) - fresh} were there already" if fresh < len(releases) else ""
    shop.finish(
        State.PUBLISHED,
        f"{fresh} releases published{again}: {', '.join(release.repo for release in releases)}",
    )


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
    """Publish one release unless the ledger says that this recipe is in its repo; returns whether it was sent."""
    earlier = [
        other
        for other in shop.ledger.releases()
        if other.commit and other.recipe == release.recipe and other.repo == release.repo
    ]
    if earlier:
        shop.ledger.record_release(replace(release, commit=earlier[-1].commit), now())
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

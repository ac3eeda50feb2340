"""The last step of a cycle: its releases are published, held for a person's review, or kept on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.ledger.ledger import Ledger, ReleaseEntry, State
from bot.progress import Narrator
from bot.release.publish import ReleaseUpload, add_to_collection, check_free, publish_release
from bot.search.selection import list_roles, make_repo_name
from bot.watchlist.sections import PublishSection
from bot.watchlist.watchlist import Watchlist


def release_repos(watchlist: Watchlist, number: int, prefix: str | None) -> dict[str, str]:
    """Role → repo, for every role that a release of the watchlist's cycle `number` can have.

    prefix: what the licence requires names to start with.
    """
    settings = watchlist.publish
    possible = list_roles(watchlist.skill_names, watchlist.search.paths.smaller)
    names = {role: make_repo_name(settings.name, watchlist.name, number, role, prefix) for role in possible}
    return {role: f"{settings.namespace}/{name}" if settings.namespace else name for role, name in names.items()}


def check_repos(hub: Hub, repos: Iterable[str], settings: PublishSection) -> None:
    """Raise a ShoalError if releases are to be published and one of their repos belongs to a person."""
    if settings.mode != "off":
        for repo in repos:
            check_free(hub, repo, settings.private)


@dataclass(frozen=True)
class Ending:
    """The end of a cycle: its state, and one line about it."""

    state: State
    note: str


@dataclass(frozen=True)
class Publisher:
    """Publishes the releases of one cycle, or holds them."""

    hub: Hub
    home: Home
    ledger: Ledger
    narrator: Narrator
    settings: PublishSection
    cycle: str

    def release_or_hold(self) -> Ending:
        """Do what the watchlist's publish.mode says with the cycle's releases."""
        releases = self.ledger.releases(self.cycle)
        if not releases:
            return Ending(State.NOTHING, "no merge beat its sources and the plain merges")
        if self.settings.mode == "off":
            return Ending(State.WRITTEN, f"{_count(len(releases))} written to {self.home.releases(self.cycle)}")
        if self.settings.mode == "review":
            note = f"{_count(len(releases))} waiting for review; to publish: shoal publish {self.cycle}"
            return Ending(State.REVIEW, note)
        return self.publish_all()

    def publish_all(self) -> Ending:
        """Publish every release of the cycle and add them to the collection; those on the Hub are not sent again."""
        releases = self.ledger.releases(self.cycle)
        sent = sum([self._publish_one(release) for release in releases])
        if self.settings.collection and self.settings.namespace:
            notes = {release.repo: f"{release.role}, cycle {self.cycle}" for release in releases}
            add_to_collection(self.hub, self.settings.namespace, self.settings.collection, notes, self.settings.private)
        earlier = f", {len(releases) - sent} on the Hub already" if sent < len(releases) else ""
        names = ", ".join(release.repo for release in releases)
        return Ending(State.PUBLISHED, f"{_count(sent)} published{earlier}: {names}")

    def _publish_one(self, release: ReleaseEntry) -> bool:
        """Publish one release unless the ledger says that its repo holds this recipe; returns whether it was sent."""
        earlier = self.ledger.last_published(release.repo)
        if earlier is not None and earlier.recipe == release.recipe:
            self.ledger.record_release(replace(release, commit=earlier.commit), datetime.now(UTC))
            return False
        upload = ReleaseUpload(
            folder=self.home.release(self.cycle, release.role),
            files=release.files,
            repo=release.repo,
            private=self.settings.private,
            tag=self.cycle,
            message=f"Release {release.role} of cycle {self.cycle}",
        )
        commit = publish_release(self.hub, upload)
        self.ledger.record_release(replace(release, commit=commit), datetime.now(UTC))
        self.narrator.say(f"published {release.repo} at {commit[:12]}")
        return True


def _count(releases: int) -> str:
    return "1 release" if releases == 1 else f"{releases} releases"


def check_waiting(ledger: Ledger, home: Home, cycle: str) -> None:
    """Raise a ShoalError unless the cycle has releases that a person may publish now."""
    entry = ledger.cycle(cycle)
    if entry.state not in (State.REVIEW, State.PUBLISHED):
        raise ShoalError(f"cycle {cycle}: is {entry.state}, not waiting for review; see `shoal show {cycle}`")
    for release in ledger.releases(cycle):
        if not home.release(cycle, release.role).is_dir():
            raise ShoalError(
                f"{home.release(cycle, release.role)}: the release's folder is gone; run the watchlist again"
            )

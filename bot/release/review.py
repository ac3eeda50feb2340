"""The last step of a cycle: its releases are published, held for a person's review, or kept on this machine."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bot.home import Home
from bot.hub.client import Hub
from bot.ledger.decisions import ReviewDecision, ReviewVerdict, cycle_decisions
from bot.ledger.ledger import Ledger, ReleaseEntry, State
from bot.ledger.pull_requests import PullRequest, cycle_pull_requests, record_pull_request
from bot.progress import Narrator
from bot.release.hints import shoal_command
from bot.release.publish import (
    ChangedOnHub,
    ReleaseUpload,
    add_to_collection,
    check_free,
    is_gone,
    publish_release,
    release_title,
)
from bot.release.pull_requests import PullState, close_pull_request, merge_release, open_pull_request, read_outcome
from bot.search.selection import FASTEST, SMALLEST, list_roles, make_repo_name
from bot.watchlist.sections import PublishSection
from bot.watchlist.watchlist import Watchlist


def release_repos(watchlist: Watchlist, number: int, prefix: str | None) -> dict[str, str]:
    """Role → repo, for every role that a release of the watchlist's cycle `number` can have.

    prefix: what the licence requires names to start with.
    """
    settings = watchlist.publish
    search = watchlist.search
    cheapest = FASTEST if search.steps or search.picture_sizes else SMALLEST if search.paths.smaller else None
    possible = list_roles(watchlist.skill_names, cheapest)
    names = {role: make_repo_name(settings.name, watchlist.name, number, role, prefix) for role in possible}
    return {role: f"{settings.namespace}/{name}" if settings.namespace else name for role, name in names.items()}


def check_repos(hub: Hub, repos: Collection[str], settings: PublishSection, narrator: Narrator) -> None:
    """Raise a ShoalError if the token may not publish to these repos, or one of them belongs to a person.

    What cannot be known before the upload is said as a warning.
    """
    if settings.namespace is not None:
        wanted, offers = bool(settings.collection), settings.mode == "pull_request"
        for warning in hub.check_can_write(settings.namespace, collections=wanted, discussions=offers, repos=repos):
            narrator.say(f"warning: {warning}")
    for repo in sorted(repos):
        if (remark := check_free(hub, repo, settings.private)) is not None:
            narrator.say(f"warning: {remark}")


@dataclass(frozen=True)
class Ending:
    """The end of a cycle: its state, and one line about it."""

    state: State
    note: str


@dataclass(frozen=True)
class Publisher:
    """Publishes the releases of one cycle, or holds them.

    over_changes: whether releases may replace what a person has changed or deleted on the Hub.
    """

    hub: Hub
    home: Home
    ledger: Ledger
    narrator: Narrator
    settings: PublishSection
    cycle: str
    over_changes: bool = False

    def release_or_hold(self, refusals: str) -> Ending:
        """Do what the watchlist's publish.mode says with the cycle's releases; `refusals`: why there may be none."""
        releases = self.ledger.releases(self.cycle)
        if not releases:
            return Ending(State.NOTHING, refusals)
        if self.settings.mode == "off":
            return Ending(State.WRITTEN, f"{_count(len(releases))} written to {self.home.releases(self.cycle)}")
        publish = {"auto": self.publish, "pull_request": self.offer}.get(self.settings.mode, _hold)
        for release in releases:
            try:
                publish([release])
            except ChangedOnHub as error:  # only a person may replace what a person has changed
                self.narrator.say(f"{release.role} waits for review: {error}")
        return self.find_ending()

    def offer(self, releases: Sequence[ReleaseEntry]) -> None:
        """Offer releases that wait as pull requests on the Hub; those that are there already are not sent again."""
        decisions = cycle_decisions(self.ledger, self.cycle)
        offered = cycle_pull_requests(self.ledger, self.cycle)
        for release in releases:
            earlier = offered.get(release.role)
            if earlier is not None and earlier.recipe != release.recipe:
                self.withdraw(earlier)
                earlier = None
            if is_waiting(release, decisions) and earlier is None and not self._record_if_on_hub(release):
                number, url = open_pull_request(self.hub, self._upload(release))
                pull = PullRequest(
                    self.cycle, release.role, release.repo, number, release.recipe, url, datetime.now(UTC)
                )
                record_pull_request(self.ledger, pull)
                self.narrator.say(f"{release.repo}: waits for review in pull request {number}, {url}")

    def withdraw(self, pull: PullRequest) -> None:
        """Close a pull request with a recipe that the cycle does not release any more, unless a person was quicker."""
        state = read_outcome(self.hub, pull).state
        if state is PullState.OPEN:
            close_pull_request(self.hub, pull, "withdrawn: the cycle was resumed, and chose other merges")
        record_pull_request(self.ledger, replace(pull, settled=True, closed=None))
        was = "" if state is PullState.OPEN else f"; it was {state} already"
        self.narrator.say(f"{pull.url}: withdrawn, for the cycle chose other merges when it was resumed{was}")

    def publish(self, releases: Sequence[ReleaseEntry]) -> None:
        """Publish releases of the cycle and add them to the collection; those on the Hub are not sent again."""
        for release in releases:
            self.send(release)
        self.collect(releases)

    def send(self, release: ReleaseEntry, *, edited: bool = False) -> None:
        """Publish a release, and then record it with its files, unless its repo holds its recipe.

        One that is offered in a pull request is published by merging that. edited: send it in any case, because a
        person changed its card.
        """
        if edited or not self._record_if_on_hub(release):
            self._publish_one(release)

    def collect(self, releases: Sequence[ReleaseEntry]) -> None:
        """Add releases to the watchlist's collection, if it names one."""
        if self.settings.collection and self.settings.namespace:
            notes = {release.repo: f"{release.role}, cycle {self.cycle}" for release in releases}
            add_to_collection(self.hub, self.settings.namespace, self.settings.collection, notes, self.settings.private)

    def find_ending(self) -> Ending:
        """The cycle's state, and what became of its releases; says how those are reviewed that wait."""
        ending = find_ending(self.ledger.releases(self.cycle), cycle_decisions(self.ledger, self.cycle))
        if ending.state is not State.REVIEW:
            return ending
        offered = ", ".join(pull.url for pull in cycle_pull_requests(self.ledger, self.cycle).values())
        where = f" in pull requests ({offered})" if offered else ""
        command = shoal_command("review", self.cycle, home=self.home, hub=self.hub)
        return replace(ending, note=f"{ending.note}{where}: {command}")

    def _publish_one(self, release: ReleaseEntry) -> None:
        pull, upload = cycle_pull_requests(self.ledger, self.cycle).get(release.role), self._upload(release)
        if pull is not None and pull.recipe == release.recipe:
            commit = merge_release(self.hub, upload, pull)
        else:
            commit = publish_release(self.hub, upload)
        self.ledger.record_release(replace(release, commit=commit), datetime.now(UTC))
        self.narrator.say(f"published {release.repo} at {commit[:12]}")

    def _record_if_on_hub(self, release: ReleaseEntry) -> bool:
        """Whether the ledger says that a release's repo holds its recipe; if so, that is recorded of it."""
        earlier = self.ledger.last_published(release.repo)
        if earlier is None or earlier.recipe != release.recipe:
            return False
        if is_gone(self.hub, release.repo):
            if self.over_changes:
                return False
            raise ChangedOnHub(
                f"{release.repo}: cycle {earlier.cycle} published this recipe there, and somebody deleted the repo; "
                "`shoal publish --over-changes` publishes it again"
            )
        self.ledger.record_release(replace(release, commit=earlier.commit), datetime.now(UTC))
        self.narrator.say(f"{release.repo}: this recipe is on the Hub already")
        return True

    def _upload(self, release: ReleaseEntry) -> ReleaseUpload:
        earlier = self.ledger.last_published(release.repo)
        return ReleaseUpload(
            folder=self.home.release(self.cycle, release.role),
            files=release.files,
            repo=release.repo,
            private=self.settings.private,
            tag=self.cycle,
            message=release_title(self.cycle, release.role),
            since=earlier.commit if earlier else None,
            over_changes=self.over_changes,
        )


def _hold(_: Sequence[ReleaseEntry]) -> None:
    """Leave releases to a person."""


def _count(releases: int) -> str:
    return "1 release" if releases == 1 else f"{releases} releases"


def find_ending(releases: Sequence[ReleaseEntry], decisions: Mapping[str, ReviewDecision]) -> Ending:
    """The state of a cycle with releases, and how many of them are published, rejected and waiting.

    decisions: by role.
    """
    published = [release for release in releases if release.commit]
    rejected = [release for release in releases if is_rejected(release, decisions)]
    waiting = len(releases) - len(published) - len(rejected)
    parts = [f"{len(rejected)} rejected"] if rejected else []
    if published:
        parts.insert(0, f"{_count(len(published))} published ({', '.join(one.repo for one in published)})")
    if waiting:
        parts.append(f"{waiting if parts else _count(waiting)} waiting for review")
        return Ending(State.REVIEW, ", ".join(parts))
    return Ending(State.PUBLISHED if published else State.REJECTED, ", ".join(parts))


def is_rejected(release: ReleaseEntry, decisions: Mapping[str, ReviewDecision]) -> bool:
    """Whether a person rejected a release; decisions: those that hold, by role."""
    decision = decisions.get(release.role)
    return not release.commit and decision is not None and decision.verdict is ReviewVerdict.REJECTED


def is_waiting(release: ReleaseEntry, decisions: Mapping[str, ReviewDecision]) -> bool:
    """Whether a release is neither published nor rejected."""
    return not release.commit and not is_rejected(release, decisions)

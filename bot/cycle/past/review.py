"""The review of a cycle's releases by a person: what waits, what is published, and what is rejected."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from bot.cycle.past.rebuild import restore_release
from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.ledger.decisions import ReviewDecision, ReviewVerdict, cycle_decisions, record_decision
from bot.ledger.ledger import Cycle, Ledger, ReleaseEntry, State
from bot.ledger.pull_requests import PullRequest, cycle_pull_requests
from bot.progress import Narrator
from bot.release.folder import ReleaseFile, edited_files, inspect_folder, is_editable
from bot.release.hints import shoal_command
from bot.release.report import update_cycle_report
from bot.release.review import Publisher, check_repos, is_rejected, is_waiting
from bot.release.verify import sha256_of
from bot.search.results import GateResult, MeasuredRow
from bot.watchlist.watchlist import Watchlist

REVIEWED = (State.REVIEW, State.PUBLISHED, State.REJECTED)
"""The states of a cycle whose releases a person can publish or reject."""


@dataclass(frozen=True)
class ReleaseReview:
    """A release as its reviewer sees it.

    url: its address on the Hub, now or once it is published. state: "waiting", or who decided what, when and why.
    pull_request: address of the pull request that offers it on the Hub; "" where there is none that is open.
    reason: the gate's. scores: mean of each skill on the report split.
    """

    role: str
    repo: str
    url: str
    folder: str
    recipe: str
    state: str
    waiting: bool
    reason: str
    scores: tuple[float, ...]
    files: tuple[ReleaseFile, ...]
    pull_request: str = ""


@dataclass(frozen=True)
class CycleReview:
    """The releases of one cycle, and the commands that decide on those that wait."""

    cycle: Cycle
    skills: tuple[str, ...]
    releases: tuple[ReleaseReview, ...]
    publish: str
    reject: str

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "cycle": self.cycle.id,
            "state": str(self.cycle.state),
            "skills": list(self.skills),
            "releases": [asdict(release) for release in self.releases],
        }


def waiting_cycles(ledger: Ledger) -> tuple[str, ...]:
    """The ids of the cycles with releases that wait for review, the oldest first."""
    return tuple(cycle.id for cycle in reversed(ledger.cycles()) if cycle.state is State.REVIEW)


def review_cycle(ledger: Ledger, home: Home, hub: Hub, cycle: str) -> CycleReview:
    """The releases of a cycle as a reviewer sees them; ShoalError if there are none to decide on."""
    entry, decisions = _reviewed_cycle(ledger, cycle), cycle_decisions(ledger, cycle)
    watchlist = kept_watchlist(ledger, cycle)
    reasons = {one.recipe: one.reason for one in ledger.kept(cycle, "gate", tuple[GateResult, ...]) or ()}
    measured = ledger.kept(cycle, "measured", tuple[MeasuredRow, ...]) or ()
    scores = {row.name: tuple(score.mean for score in row.scores) for row in measured}
    pulls = cycle_pull_requests(ledger, cycle)

    def command(verb: str, *words: str) -> str:
        return shoal_command(verb, cycle, *words, home=home, hub=hub)

    def review(release: ReleaseEntry) -> ReleaseReview:
        folder, pull = home.release(cycle, release.role), pulls.get(release.role)
        return ReleaseReview(
            role=release.role,
            repo=release.repo,
            url=f"{hub.endpoint.rstrip('/')}/{release.repo}",
            folder=str(folder),
            recipe=release.recipe,
            state=_describe_state(release, decisions.get(release.role), pull),
            waiting=is_waiting(release, decisions),
            reason=reasons.get(release.recipe, ""),
            scores=scores.get(release.role, ()),
            files=inspect_folder(folder, release.files, with_weights=False),
            pull_request=pull.url if pull else "",
        )

    releases = tuple(map(review, ledger.releases(cycle)))
    role = next((one.role for one in releases if one.waiting), "RELEASE")
    return CycleReview(entry, watchlist.skill_names, releases, command("publish"), command("reject", role))


def publish_releases(
    ledger: Ledger,
    home: Home,
    hub: Hub,
    cycle: str,
    names: Sequence[str],
    narrator: Narrator,
    *,
    edited: bool = False,
    over_changes: bool = False,
    who: str | None = None,
    save: Callable[[], None] = lambda: None,
) -> None:
    """Publish releases of a cycle: those that wait, or those named by role or repo, even if they were rejected.

    What is gone of a release is written again first. edited: whether cards that were edited may be published so.
    over_changes: whether what a person has changed or deleted on the Hub may be replaced.
    who: the person; by default the one at this machine. save: as of `run_cycle`; called before anything is sent.

    Raises:
        ShoalError: a name is wrong, or a file was changed that may not be, or not without `edited`. Nothing is sent.
    """
    _reviewed_cycle(ledger, cycle)
    watchlist, decisions = kept_watchlist(ledger, cycle), cycle_decisions(ledger, cycle)
    named = _named(ledger.releases(cycle), names) if names else ledger.releases(cycle)
    wanted = [one for one in named if not one.commit and (names or is_waiting(one, decisions))]
    publisher = Publisher(hub, home, ledger, narrator, watchlist.publish, cycle, over_changes)
    if watchlist.publish.mode != "auto":
        # A process that was killed after the upload has left these without their decision.
        for release in (one for one in named if one.commit and not _is_published_by(decisions.get(one.role))):
            _decide(ledger, release, ReviewVerdict.PUBLISHED, "", who)
    if not wanted:
        update_cycle(ledger, home, publisher)
        narrator.say(f"{cycle}: nothing to publish: {ledger.cycle(cycle).note}")
        return
    check_repos(hub, {release.repo for release in wanted}, watchlist.publish, narrator)
    ready = []
    for release in wanted:
        restore_release(ledger, home, hub, release, narrator)
        ready.append((release, _find_edits(home, release, edited)))
    save()
    try:
        for release, changes in ready:
            taken = replace(release, files=dict(release.files) | changes)
            publisher.send(taken, edited=bool(changes))
            note = f"with an edited {' and '.join(changes)}" if changes else ""
            _decide(ledger, release, ReviewVerdict.PUBLISHED, note, who)
            publisher.collect([release])
    finally:
        update_cycle(ledger, home, publisher)


def reject_releases(
    ledger: Ledger,
    home: Home,
    hub: Hub,
    cycle: str,
    names: Sequence[str],
    note: str,
    narrator: Narrator,
    *,
    who: str | None = None,
) -> None:
    """Reject releases that wait, named by role or repo: they are not offered again, in this cycle or a later one.

    note: why; one line. who: the person; by default the one at this machine.
    """
    _reviewed_cycle(ledger, cycle)
    wanted = _named(ledger.releases(cycle), names)
    if published := [release for release in wanted if release.commit]:
        raise ShoalError(f"{published[0].repo}: is on the Hub already; delete it there if it should not be")
    decisions, note = cycle_decisions(ledger, cycle), " ".join(note.split())
    for release in wanted:
        holding = decisions.get(release.role)
        if holding is None or (holding.verdict, holding.note) != (ReviewVerdict.REJECTED, note):
            _decide(ledger, release, ReviewVerdict.REJECTED, note, who)
    watchlist = kept_watchlist(ledger, cycle)
    update_cycle(ledger, home, Publisher(hub, home, ledger, narrator, watchlist.publish, cycle))


def current_user() -> str:
    """The name of the person at this machine, as the operating system has it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container the user may have no name
        return f"user {os.getuid()}"


def update_cycle(ledger: Ledger, home: Home, publisher: Publisher) -> None:
    """Bring the cycle's state and its report up to date; one that failed or is running is left to be resumed."""
    if ledger.cycle(publisher.cycle).state not in REVIEWED:
        return
    ending, finished = publisher.find_ending(), ledger.cycle(publisher.cycle).finished
    ledger.finish(publisher.cycle, ending.state, ending.note, finished or datetime.now(UTC))
    update_cycle_report(ledger, home, publisher.cycle)
    publisher.narrator.say(f"{publisher.cycle}: {ending.state}: {ending.note}")


def _decide(ledger: Ledger, release: ReleaseEntry, verdict: ReviewVerdict, note: str, who: str | None) -> None:
    person, now = who or current_user(), datetime.now(UTC)
    record_decision(ledger, ReviewDecision(release.cycle, release.role, release.recipe, verdict, person, now, note))


def _is_published_by(decision: ReviewDecision | None) -> bool:
    """Whether somebody is recorded as having published a release."""
    return decision is not None and decision.verdict is ReviewVerdict.PUBLISHED


def _reviewed_cycle(ledger: Ledger, cycle: str) -> Cycle:
    """The cycle; ShoalError if it has no releases that a person could decide on."""
    entry = ledger.cycle(cycle)
    if entry.state not in REVIEWED:
        off = "; publishing was off: set publish.mode in its watchlist, and run that again"
        why = off if entry.state is State.WRITTEN else ""
        raise ShoalError(f"cycle {cycle}: no release waits for review, as its state is {str(entry.state)!r}{why}")
    return entry


def kept_watchlist(ledger: Ledger, cycle: str) -> Watchlist:
    """The watchlist with which a cycle was run; ShoalError if there is no such cycle."""
    watchlist = ledger.kept(ledger.cycle(cycle).id, "watchlist", Watchlist)
    assert watchlist is not None  # kept before anything else of the cycle
    return watchlist


def _named(releases: Sequence[ReleaseEntry], names: Sequence[str]) -> list[ReleaseEntry]:
    """The releases that are named by role, by repo, or by a repo's name without its owner."""
    spellings = {name: one for one in releases for name in (one.repo, one.repo.partition("/")[2], one.role)}
    if unknown := [name for name in names if name not in spellings]:
        roles = ", ".join(one.role for one in releases)
        raise ShoalError(f"RELEASE: got {unknown[0]!r}: the cycle has no such release; choose from {roles}")
    return list({spellings[name].role: spellings[name] for name in names}.values())


def _find_edits(home: Home, release: ReleaseEntry, allowed: bool) -> dict[str, str]:
    """Name → SHA-256 of the files that a person edited; ShoalError if they may not be published so."""
    folder = home.release(release.cycle, release.role)
    names = edited_files(folder, release.files)
    for name in names:
        if not is_editable(name):
            raise ShoalError(
                f"{folder / name}: changed since it was checked, and only checked bytes are published; "
                "delete the file, then `shoal publish` writes it again"
            )
        if not allowed:
            raise ShoalError(
                f"{folder / name}: edited since it was written; to publish it so, add --edited; "
                "to publish the original, delete the file"
            )
    return {name: sha256_of(folder / name) for name in names}


def _describe_state(release: ReleaseEntry, decision: ReviewDecision | None, pull: PullRequest | None) -> str:
    if release.commit:
        return decision.describe() if decision is not None else "published"
    if decision is not None and is_rejected(release, {release.role: decision}):
        return decision.describe()
    return f"waiting in pull request {pull.number}" if pull else "waiting"

"""What became on the Hub of releases that were offered in pull requests: merged is published, closed is rejected.

One that was closed may be opened again: the release waits then, or is published if it is merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from bot.cycle.past.review import kept_watchlist, update_cycle
from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.ledger.decisions import ReviewDecision, ReviewVerdict, cycle_decisions, record_decision
from bot.ledger.ledger import Ledger, ReleaseEntry
from bot.ledger.pull_requests import PullRequest, record_pull_request, watched_pull_requests
from bot.progress import Narrator
from bot.release.folder import is_editable
from bot.release.publish import move_tag
from bot.release.pull_requests import (
    PullOutcome,
    PullState,
    close_pull_request,
    find_strange_files,
    hash_merged_files,
    read_outcome,
)
from bot.release.review import Publisher, is_waiting


def settle_pull_requests(ledger: Ledger, home: Home, hub: Hub, cycle: str, narrator: Narrator) -> tuple[str, ...]:
    """Take over what people did with a cycle's pull requests, and close those whose releases were decided on here.

    Returns a line about each that cannot be looked up now; it is the next time. The caller holds the home's lock.
    """
    publisher = Publisher(hub, home, ledger, narrator, kept_watchlist(ledger, cycle).publish, cycle)
    faults = []
    for pull in watched_pull_requests(ledger, cycle, datetime.now(UTC)):
        try:
            if (now := _settle(publisher, pull)) != pull:
                record_pull_request(ledger, now)
                update_cycle(ledger, home, publisher)
        except ShoalError as error:
            faults.append(f"{pull.url}: {error}")
    return tuple(faults)


def _settle(publisher: Publisher, pull: PullRequest) -> PullRequest:
    """Take over what became of a pull request; returns it as it is to be recorded.

    ShoalError if the Hub does not say, or does not close it.
    """
    release, over = _find_release(publisher, pull), replace(pull, settled=True, closed=None)
    if release is None:
        publisher.withdraw(pull)
        return over
    outcome = read_outcome(publisher.hub, pull)
    decision = cycle_decisions(publisher.ledger, pull.cycle).get(pull.role)
    waits = is_waiting(release, {pull.role: decision} if decision else {})
    if outcome.state is PullState.MERGED:
        if not release.commit:
            _take_merged(publisher, pull, release, outcome)
        return over
    if outcome.state is PullState.CLOSED:
        if waits:
            _decide(publisher, release, ReviewVerdict.REJECTED, outcome, f"closed pull request {pull.number}")
            publisher.narrator.say(f"{release.repo}: rejected: {pull.url} was closed")
        return over if release.commit else replace(over, closed=outcome.when or pull.closed or datetime.now(UTC))
    if outcome.state is PullState.GONE:
        if waits:
            raise ShoalError("is gone, or the token may not see it; publish or reject the release here")
        return over
    if waits:
        return replace(pull, settled=False, closed=None)
    if not release.commit and decision is not None and _is_reopened(pull, outcome, decision):
        _decide(publisher, release, ReviewVerdict.REOPENED, outcome, f"reopened pull request {pull.number}")
        publisher.narrator.say(f"{release.repo}: waits for review again: {pull.url} was opened again")
        return replace(pull, settled=False, closed=None)
    close_pull_request(publisher.hub, pull, decision.describe() if decision else "published by a commit of its own")
    return over if release.commit else replace(over, closed=datetime.now(UTC))


def _is_reopened(pull: PullRequest, outcome: PullOutcome, decision: ReviewDecision) -> bool:
    """Whether a pull request that is open was closed, and opened again after the decision that holds."""
    return pull.closed is not None and outcome.when is not None and outcome.when > decision.when


def _take_merged(publisher: Publisher, pull: PullRequest, release: ReleaseEntry, outcome: PullOutcome) -> None:
    """Record a merged release as published, with what was merged."""
    merged = hash_merged_files(publisher.hub, release.repo, outcome.commit, release.files)
    note = describe_merged(release, merged, find_strange_files(publisher.hub, pull, release.files))
    move_tag(publisher.hub, release.repo, release.cycle, outcome.commit)
    taken = replace(release, commit=outcome.commit, files=dict(release.files) | merged)
    publisher.ledger.record_release(taken, outcome.when or datetime.now(UTC))
    _decide(publisher, release, ReviewVerdict.PUBLISHED, outcome, f"merged pull request {pull.number}{note}")
    publisher.narrator.say(f"published {release.repo} at {outcome.commit[:12]}: {pull.url} was merged{note}")
    try:
        publisher.collect([release])
    except ShoalError as error:  # it is published all the same
        publisher.narrator.say(f"warning: {release.repo}: published, but not added to the collection: {error}")


def describe_merged(release: ReleaseEntry, merged: dict[str, str], strange: Sequence[str]) -> str:
    """What of a merged release is not as it was scored and written.

    merged: SHA-256 by name of what is on the Hub. strange: the files that were changed beside the release's own.
    """
    changed = [name for name, sha256 in release.files.items() if merged.get(name) != sha256]
    edited = [name for name in changed if is_editable(name) and name in merged]
    others = [name for name in changed if name not in edited]
    words = [f"with an edited {' and '.join(edited)}"] if edited else []
    if others:
        words.append(f"{' and '.join(others)} there {'is' if len(others) == 1 else 'are'} not what was scored")
    if strange:
        words.append(f"{' and '.join(strange)} there {'is' if len(strange) == 1 else 'are'} not part of the release")
    return "".join(f"; {word}" for word in words)


def _decide(
    publisher: Publisher, release: ReleaseEntry, verdict: ReviewVerdict, outcome: PullOutcome, note: str
) -> None:
    when = outcome.when or datetime.now(UTC)
    decision = ReviewDecision(release.cycle, release.role, release.recipe, verdict, outcome.who, when, note)
    record_decision(publisher.ledger, decision)


def _find_release(publisher: Publisher, pull: PullRequest) -> ReleaseEntry | None:
    """The release that a pull request offers; None if the cycle was resumed and chose other merges."""
    releases = publisher.ledger.releases(pull.cycle)
    return next((one for one in releases if (one.role, one.recipe) == (pull.role, pull.recipe)), None)

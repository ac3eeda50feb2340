"""Releases as pull requests on the Hub: offered there, merged or closed by a person, and what became of each."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from bot.errors import ShoalError
from bot.hub.answers.failures import HubNotFound
from bot.hub.discovery.rules import OWN_TAG
from bot.ledger.pull_requests import PullRequest
from bot.release.publish import (
    ChangedOnHub,
    ReleaseUpload,
    check_free,
    commit_operations,
    content_ids,
    goes_with_its_release,
    has_all_files,
    is_fresh,
    move_tag,
    publish_release,
    release_title,
)
from bot.release.verify import check_files
from templates.markdown import render_markdown

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

    from bot.hub.client import Hub

CARD = "README.md"


class PullState(StrEnum):
    """What became of a pull request."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"
    GONE = "gone"


@dataclass(frozen=True)
class PullOutcome:
    """What became of a pull request, who did it and when; commit: of the merge, on the repo's main branch.

    when: None if it was never anything but open.
    """

    state: PullState
    who: str = ""
    when: datetime | None = None
    commit: str = ""


def open_pull_request(hub: Hub, upload: ReleaseUpload) -> tuple[int, str]:
    """Offer a release as a pull request in its repo; returns its number and address.

    A pull request needs a repo with something in it, so a new one gets a card that says what is to come. If the repo
    has an open pull request of that title with these files (the response to an earlier call was lost), that one counts.
    """
    check_files(upload.folder, upload.files)
    check_free(hub, upload.repo, upload.private)
    hub.call(hub.api.create_repo, upload.repo, private=upload.private, exist_ok=True)
    head = _write_first_card(hub, upload.repo, _read_head(hub, upload.repo))
    if (found := _find_open(hub, upload)) is not None:
        return found
    made = hub.call(
        hub.api.create_commit,
        upload.repo,
        operations=commit_operations(head, upload),
        commit_message=upload.message,
        commit_description="Merge this pull request to publish the release, or close it to reject it.",
        parent_commit=head.sha,
        create_pr=True,
    )
    assert made.pr_num is not None and made.pr_url is not None  # as `create_pr` asks for
    return made.pr_num, made.pr_url


def read_outcome(hub: Hub, pull: PullRequest) -> PullOutcome:
    """What became of a pull request; any state but merged and closed (such as draft) is open."""
    from huggingface_hub import DiscussionStatusChange

    try:
        details = hub.call(hub.api.get_discussion_details, pull.repo, pull.number, tries=2)
    except HubNotFound:
        return PullOutcome(PullState.GONE)
    changes = [event for event in details.events if isinstance(event, DiscussionStatusChange)]
    last = next((event for event in reversed(changes) if event.new_status == details.status), None)
    who, when = (last.author, last.created_at.astimezone(UTC)) if last else ("somebody on the Hub", None)
    if details.status not in (PullState.MERGED, PullState.CLOSED):
        return PullOutcome(PullState.OPEN, who, when)
    state, commit = PullState(details.status), ""
    if state is PullState.MERGED:
        commit = details.merge_commit_oid or _read_head(hub, pull.repo).sha or ""
    return PullOutcome(state, who, when, commit)


def merge_release(hub: Hub, upload: ReleaseUpload, pull: PullRequest) -> str:
    """Merge a release's pull request and return the commit that holds it.

    The files are hashed first. What was edited here since it was opened is committed to it before. If it is gone, was
    merged with other files, or has strange ones that are to be left out, the release is published by its own commit.

    Raises:
        ChangedOnHub: it changes more than the release's own files.
        ShoalError: somebody closed it, and nobody has asked since then that the release be published.
    """
    check_files(upload.folder, upload.files)
    outcome, again = read_outcome(hub, pull), f"`shoal publish {pull.cycle} {pull.role}"
    if outcome.state is PullState.CLOSED:
        raise ShoalError(f"{pull.url}: {outcome.who} closed it meanwhile; {again}` publishes the release all the same")
    strange = () if outcome.state is PullState.GONE else find_strange_files(hub, pull, upload.files)
    if strange and not upload.over_changes:
        raise ChangedOnHub(
            f"{pull.url}: somebody changed more there than the release's own files: {', '.join(strange[:5])}; nothing "
            f"was sent: if that is meant, merge it on the Hub; {again} --over-changes` publishes the release without it"
        )
    if outcome.state is PullState.OPEN and not strange:
        _merge(hub, upload, pull)
        outcome = read_outcome(hub, pull)
    if outcome.state is PullState.MERGED and has_all_files(_read_head(hub, upload.repo, outcome.commit), upload):
        move_tag(hub, upload.repo, upload.tag, outcome.commit)
        return outcome.commit
    return publish_release(hub, upload)


def find_strange_files(hub: Hub, pull: PullRequest, files: Collection[str]) -> tuple[str, ...]:
    """The files that a pull request adds, changes or deletes beside the release's own, `files`.

    It is compared with the commit that it was opened on. The Hub itself keeps .gitattributes.
    """
    branch = _branch(pull)
    try:
        commits = hub.call(lambda repo: hub.api.list_repo_commits(repo, revision=branch), pull.repo)
        there = content_ids(_read_head(hub, pull.repo, branch))
    except HubNotFound:  # its branch stays after a merge, but not when the history is rewritten
        return ()
    title = release_title(pull.cycle, pull.role)
    first = max((place for place, commit in enumerate(commits) if commit.title == title), default=len(commits))
    base = commits[first + 1].commit_id if first + 1 < len(commits) else None
    before = content_ids(_read_head(hub, pull.repo, base)) if base else {}
    changed = {name for name in before.keys() | there.keys() if before.get(name) != there.get(name)}
    stale = {name for name in changed if name not in there and goes_with_its_release(name)}
    return tuple(sorted(changed - stale - set(files) - {".gitattributes"}))


def close_pull_request(hub: Hub, pull: PullRequest, comment: str) -> None:
    """Close a pull request with a comment."""
    hub.call(hub.api.change_discussion_status, pull.repo, pull.number, "closed", comment=comment)


def hash_merged_files(hub: Hub, repo: str, commit: str, files: Mapping[str, str]) -> dict[str, str]:
    """Name → SHA-256 at a commit of those of a release's files that it has; small ones are fetched for that."""
    info = _read_head(hub, repo, commit)
    there = {one.rfilename: one.lfs for one in info.siblings or () if one.rfilename in files}
    return {
        name: lfs.sha256 if lfs else hashlib.sha256(hub.read(repo, commit, name)).hexdigest()
        for name, lfs in there.items()
    }


def _branch(pull: PullRequest) -> str:
    return f"refs/pr/{pull.number}"


def _merge(hub: Hub, upload: ReleaseUpload, pull: PullRequest) -> None:
    """Merge a pull request, after a commit to it of what was edited here."""
    head = _read_head(hub, upload.repo, _branch(pull))
    if not has_all_files(head, upload):
        hub.call(
            hub.api.create_commit,
            upload.repo,
            operations=commit_operations(head, upload),
            commit_message=f"{upload.message}, as edited",
            revision=_branch(pull),
            parent_commit=head.sha,
        )
    hub.call(hub.api.merge_pull_request, upload.repo, pull.number)


def _read_head(hub: Hub, repo: str, revision: str | None = None) -> ModelInfo:
    return hub.call(hub.api.model_info, repo, revision=revision, files_metadata=True)


def _write_first_card(hub: Hub, repo: str, head: ModelInfo) -> ModelInfo:
    """Give a repo that holds nothing a card; returns its head."""
    from huggingface_hub import CommitOperationAdd

    if not is_fresh(head):
        return head
    address = f"{hub.endpoint.rstrip('/')}/{repo}/discussions"
    text = render_markdown("proposed_card.md.j2", name=repo.rpartition("/")[2], tag=OWN_TAG, address=address)
    hub.call(
        hub.api.create_commit,
        repo,
        operations=[CommitOperationAdd(CARD, text.encode())],
        commit_message="Say that a release waits for review",
        parent_commit=head.sha,
    )
    return _read_head(hub, repo)


def _find_open(hub: Hub, upload: ReleaseUpload) -> tuple[int, str] | None:
    """The number and address of an open pull request with this title and these files."""
    listed = hub.call(
        lambda repo: list(hub.api.get_repo_discussions(repo, discussion_type="pull_request", discussion_status="open")),
        upload.repo,
    )
    for one in listed:
        head = _read_head(hub, upload.repo, f"refs/pr/{one.num}") if one.title == upload.message else None
        if head is not None and has_all_files(head, upload):
            return one.num, one.url
    return None

"""Routes of discussions and pull requests."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Query
from pydantic import JsonValue

from localhub.errors import HubError
from localhub.protocol.access import BodyText, Caller, CurrentCaller, VisibleRepo, WritableRepo
from localhub.protocol.json_views import JsonObject
from localhub.store.commits import Changes
from localhub.store.discussions import Pull, Thread, make_comment, make_event
from localhub.store.repo import MAIN, Author, Draft, Repo
from localhub.webhooks.events import tell_comment, tell_commit, tell_thread

router = APIRouter(prefix="/api/models/{owner}/{name}/discussions")
PER_PAGE = 10


@router.get("")
def list_threads(
    caller: CurrentCaller,
    repo: VisibleRepo,
    type: Literal["all", "discussion", "pull_request"] = "all",
    status: Literal["all", "open", "closed"] = "all",
    author: str | None = None,
    p: Annotated[int, Query(ge=0)] = 0,
) -> JsonObject:
    """Discussions and pull requests, newest first, a page (number `p`) at a time."""
    found = [
        thread
        for thread in caller.store.discussions(repo).all()
        if (type == "all" or (type == "pull_request") == (thread.pull is not None))
        and (status == "all" or (status == "open") == (thread.status == "open"))
        and author in (None, thread.author)
    ]
    start = p * PER_PAGE
    return {
        "count": len(found),
        "start": start,
        "discussions": [_describe_thread(repo, thread) for thread in found[start : start + PER_PAGE]],
        "numClosedDiscussions": sum(thread.status in ("closed", "merged") for thread in found),
    }


@router.get("/{number}")
def get_thread(caller: CurrentCaller, repo: VisibleRepo, number: int) -> JsonObject:
    """One discussion or pull request with all its events."""
    thread = caller.store.discussions(repo).get(number)
    shown = _describe_thread(repo, thread) | {"events": list(thread.events)}
    if thread.pull:
        changes: JsonObject = {"base": f"refs/heads/{thread.pull.base}"}
        if thread.pull.merged_as:
            changes["mergeCommitId"] = thread.pull.merged_as
        conflicts: list[JsonValue] = []
        if thread.status == "open":
            conflicts += repo.find_conflicts(number, thread.pull.started_at, thread.pull.base)
        shown |= {"changes": changes, "filesWithConflicts": conflicts}
    return shown


@router.post("")
def open_thread(
    caller: CurrentCaller,
    repo: VisibleRepo,
    title: BodyText,
    description: BodyText = "",
    pullRequest: Annotated[bool, Body()] = False,  # noqa: N803  as sent
) -> JsonObject:
    """Open a discussion, or a pull request without changes yet."""
    author = _check_author(caller)

    def start(number: int) -> Pull:
        return Pull(MAIN, repo.resolve(MAIN), repo.open_pull(number, MAIN, Draft(Changes({}), author, title)))

    discussions = caller.store.discussions(repo)
    thread = discussions.open(title, description, author, start if pullRequest else None)
    tell_thread(caller, repo, "create", thread)
    return {"num": thread.num, "pullRequest": pullRequest}


@router.post("/{number}/comment")
def add_comment(caller: CurrentCaller, repo: VisibleRepo, number: int, comment: BodyText) -> JsonObject:
    """Add a comment."""
    event = make_comment(comment, _check_author(caller))
    discussions = caller.store.discussions(repo)
    discussions.add(number, event)
    tell_comment(caller, repo, discussions.get(number))
    return {"newMessage": event}


@router.post("/{number}/status")
def change_status(
    caller: CurrentCaller,
    repo: VisibleRepo,
    number: int,
    status: Annotated[Literal["open", "closed"], Body()],
    comment: Annotated[str | None, Body()] = None,
) -> JsonObject:
    """Close a discussion, or reopen it."""
    author = _check_author(caller)
    discussions = caller.store.discussions(repo)
    thread = discussions.get(number)
    if author.name != thread.author:
        caller.check_writes(repo.owner, f"close discussions of {repo.id}")
    if thread.status == "merged":
        raise HubError(409, f"Pull request {number} is merged already")
    comments = [make_comment(comment, author)] if comment else []
    changed = make_event("status-change", author, {"status": status})
    discussions.add(number, *comments, changed, status=status)
    tell_thread(caller, repo, "update", discussions.get(number))
    return {"newStatus": changed}


@router.post("/{number}/merge")
def merge_pull_request(
    caller: CurrentCaller, repo: WritableRepo, number: int, comment: Annotated[str | None, Body(embed=True)] = None
) -> JsonObject:
    """Apply a pull request's changes to its branch; a 409 for conflicts."""
    author = _check_author(caller)
    discussions = caller.store.discussions(repo)
    with repo.lock():
        thread = discussions.get(number)
        pull = thread.pull
        if not pull:
            raise HubError(400, f"Discussion {number} is not a pull request")
        if thread.status != "open":
            raise HubError(409, f"Pull request {number} is {thread.status} already")
        commit = repo.merge_pull(number, pull.started_at, pull.base, author, f"{thread.title} (#{number})")
        comments = [make_comment(comment, author)] if comment else []
        merged = make_event("status-change", author, {"status": "merged"})
        events = [*thread.events, *comments, merged]
        discussions.replace(replace(thread, status="merged", pull=replace(pull, merged_as=commit), events=events))
    tell_thread(caller, repo, "update", discussions.get(number))
    tell_commit(caller, repo, pull.base, commit)
    return {"newStatus": merged, "mergeCommitId": commit}


def _check_author(caller: Caller) -> Author:
    return caller.author("take part in discussions")


def _describe_thread(repo: Repo, thread: Thread) -> JsonObject:
    return {
        "num": thread.num,
        "title": thread.title,
        "author": {"name": thread.author},
        "createdAt": thread.created_at,
        "status": thread.status,
        "repo": {"name": repo.id, "type": "model"},
        "isPullRequest": thread.pull is not None,
        "numComments": sum(event["type"] == "comment" for event in thread.events),
    }

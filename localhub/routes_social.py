"""Discussions and pull requests over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from localhub.access import Asking, Caller
from localhub.commits import Changes
from localhub.discussions import comment, event
from localhub.errors import HubError, forbidden
from localhub.repo import MAIN, Author, Repo

router = APIRouter(prefix="/api/models/{owner}/{name}/discussions")
PER_PAGE = 10


class NewThread(BaseModel):
    """A discussion to be opened."""

    title: str
    description: str = ""
    pullRequest: bool = False  # noqa: N815  the protocol's name


class NewComment(BaseModel):
    """Something to be said."""

    comment: str


class OptionalComment(BaseModel):
    """Something to be said along with a merge."""

    comment: str | None = None


class NewStatus(BaseModel):
    """A discussion to be closed or opened again."""

    status: Literal["open", "closed"]
    comment: str | None = None


def pull_fields(base: str, started_at: str, first: str) -> dict[str, Any]:
    """What is kept of a pull request: the branch it is for, that branch's commit when it was opened, its
    own first commit, and (later) the commit that merged it."""
    return {"base": base, "started_at": started_at, "first": first, "merged_as": None}


@router.get("")
def threads(
    caller: Asking,
    owner: str,
    name: str,
    type: Literal["all", "discussion", "pull_request"] = "all",
    status: Literal["all", "open", "closed"] = "all",
    author: str | None = None,
    p: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, Any]:
    """Threads, newest first, a page (number `p`) at a time."""
    repo = caller.readable(owner, name)
    found = [
        thread
        for thread in caller.store.discussions(repo).all()
        if (type == "all" or (type == "pull_request") == bool(thread["pull"]))
        and (status == "all" or (status == "open") == (thread["status"] == "open"))
        and author in (None, thread["author"])
    ]
    page = found[p * PER_PAGE : (p + 1) * PER_PAGE]
    return {
        "count": len(found),
        "start": p * PER_PAGE,
        "discussions": [_shown(repo, thread) for thread in page],
        "numClosedDiscussions": sum(thread["status"] in ("closed", "merged") for thread in found),
    }


@router.get("/{number}")
def thread(caller: Asking, owner: str, name: str, number: int) -> dict[str, Any]:
    """One thread with all its events."""
    repo = caller.readable(owner, name)
    kept = caller.store.discussions(repo).get(number)
    shown = _shown(repo, kept) | {"events": kept["events"]}
    if kept["pull"]:
        changes = {"base": f"refs/heads/{kept['pull']['base']}"}
        if kept["pull"]["merged_as"]:
            changes["mergeCommitId"] = kept["pull"]["merged_as"]
        shown |= {"changes": changes, "filesWithConflicts": []}
    return shown


@router.post("")
def open_thread(caller: Asking, owner: str, name: str, request: NewThread) -> dict[str, Any]:
    """A new discussion, or a pull request without changes yet."""
    who = _author(caller)
    repo = caller.readable(owner, name)

    def start(number: int) -> dict[str, Any]:
        base = repo.resolve(MAIN)
        return pull_fields(MAIN, base, repo.open_pull(number, MAIN, Changes({}), who, request.title, "", None))

    kept = caller.store.discussions(repo).open(
        request.title, request.description, who, start if request.pullRequest else None
    )
    return {"num": kept["num"], "pullRequest": request.pullRequest}


@router.post("/{number}/comment")
def add_comment(caller: Asking, owner: str, name: str, number: int, request: NewComment) -> dict[str, Any]:
    """Say something in a thread."""
    said = comment(request.comment, _author(caller))
    caller.store.discussions(caller.readable(owner, name)).add(number, said)
    return {"newMessage": said}


@router.post("/{number}/status")
def change_status(caller: Asking, owner: str, name: str, number: int, request: NewStatus) -> dict[str, Any]:
    """Close a thread, or open it again."""
    who = _author(caller)
    repo = caller.readable(owner, name)
    discussions = caller.store.discussions(repo)
    if who.name != discussions.get(number)["author"]:
        caller.check_writes(repo.owner, f"close discussions of {repo.id}")
    if discussions.get(number)["status"] == "merged":
        raise HubError(409, f"Pull request {number} is merged already")
    said = [comment(request.comment, who)] if request.comment else []
    changed = event("status-change", who, {"status": request.status})
    discussions.add(number, *said, changed, status=request.status)
    return {"newStatus": changed}


@router.post("/{number}/merge")
def merge(caller: Asking, owner: str, name: str, number: int, request: OptionalComment | None = None) -> dict[str, Any]:
    """Bring a pull request's changes onto its branch; a 409 for conflicts."""
    repo = caller.writable(owner, name)
    who = _author(caller)
    discussions = caller.store.discussions(repo)
    with repo.lock():
        kept = discussions.get(number)
        if not kept["pull"]:
            raise HubError(400, f"Discussion {number} is no pull request")
        if kept["status"] != "open":
            raise HubError(409, f"Pull request {number} is {kept['status']} already")
        pull = kept["pull"]
        title = f"{kept['title']} (#{number})"
        id = repo.merge_pull(number, pull["started_at"], pull["base"], who, title)
        said = [comment(request.comment, who)] if request and request.comment else []
        merged = event("status-change", who, {"status": "merged"})
        discussions.add_unlocked(number, *said, merged, status="merged", pull={**pull, "merged_as": id})
    return {"newStatus": merged, "mergeCommitId": id}


def _author(caller: Caller) -> Author:
    identity = caller.known()
    if not identity.may_write:
        raise forbidden("You don't have the rights to take part in discussions: the token may only read")
    return caller.store.author(identity.name)


def _shown(repo: Repo, kept: dict[str, Any]) -> dict[str, Any]:
    return {
        "num": kept["num"],
        "title": kept["title"],
        "author": {"name": kept["author"]},
        "createdAt": kept["created_at"],
        "status": kept["status"],
        "repo": {"name": repo.id, "type": "model"},
        "isPullRequest": bool(kept["pull"]),
        "numComments": sum(event["type"] == "comment" for event in kept["events"]),
    }

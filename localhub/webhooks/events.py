"""What webhooks are told of models, in the Hub's words (payloads of version 3)."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from pydantic import JsonValue

from localhub.errors import HubError
from localhub.protocol.access import Caller
from localhub.protocol.json_views import JsonObject, make_object_id
from localhub.store.discussions import Thread
from localhub.store.repo import Repo
from localhub.webhooks.deliveries import HubEvent

REPO, CONTENT, CONFIG, DISCUSSION, COMMENT = (
    "repo", "repo.content", "repo.config", "discussion", "discussion.comment",
)  # fmt: skip
"""Scopes of events."""

UpdatedRef = tuple[str, str | None, str | None]
"""A reference's full name, the commit that it pointed to, and the one that it points to now; None: there is none."""


def describe_event(caller: Caller, repo: Repo, action: str, scope: str, **details: JsonValue) -> HubEvent:
    """An event in a repo as it is now; `details` are further keys of the payload."""
    settings, shown = repo.settings(), f"{caller.endpoint}/api/models/{repo.id}"
    about: JsonObject = {
        "type": "model",
        "name": repo.id,
        "id": make_object_id(repo.id),
        "private": settings.private,
        "url": {"web": f"{caller.endpoint}/{repo.id}", "api": shown},
        "owner": {"id": make_object_id(repo.owner)},
    }
    if scope.startswith(REPO):
        with suppress(HubError):  # the repo is being deleted
            model = caller.store.model(repo, settings=settings)
            about |= {"headSha": model.sha, "tags": list(model.facts.tags)}
    event: JsonObject = {"action": action, "scope": scope}
    return HubEvent(repo.id, settings.private, scope, {"event": event, "repo": about, **details})


def tell(caller: Caller, repo: Repo, action: str, scope: str, **details: JsonValue) -> None:
    """Tell of an event in a repo, as `describe_event` describes it, if anybody wants to know."""
    if caller.deliveries.webhooks.all():
        caller.deliveries.send(describe_event(caller, repo, action, scope, **details))


def tell_refs(caller: Caller, repo: Repo, refs: Iterable[UpdatedRef]) -> None:
    """Tell that references of a repo point to other commits now."""
    rows: list[JsonValue] = [{"ref": name, "oldSha": old, "newSha": new} for name, old, new in refs]
    tell(caller, repo, "update", CONTENT, updatedRefs=rows)


def tell_commit(caller: Caller, repo: Repo, revision: str, commit: str) -> None:
    """Tell of a commit to a branch or `refs/pr/N`."""
    name = revision if revision.startswith("refs/") else f"refs/heads/{revision}"
    tell_refs(caller, repo, [(name, next(iter(repo.commit(commit).parents), None), commit)])


def tell_thread(caller: Caller, repo: Repo, action: str, thread: Thread) -> None:
    """Tell of a discussion or pull request: `create` or `update`. A new pull request is a new reference, too."""
    details: dict[str, JsonValue] = {"discussion": _describe_thread(caller, repo, thread)}
    if action == "create":
        details["comment"] = _describe_comment(caller, repo, thread)
    tell(caller, repo, action, DISCUSSION, **details)
    if action == "create" and thread.pull is not None:
        tell_refs(caller, repo, [(f"refs/pr/{thread.num}", None, thread.pull.first)])


def tell_comment(caller: Caller, repo: Repo, thread: Thread) -> None:
    """Tell of the newest comment in a discussion."""
    discussion, comment = _describe_thread(caller, repo, thread), _describe_comment(caller, repo, thread)
    tell(caller, repo, "create", COMMENT, discussion=discussion, comment=comment)


def _describe_thread(caller: Caller, repo: Repo, thread: Thread) -> JsonObject:
    place = f"{repo.id}/discussions/{thread.num}"
    shown: JsonObject = {
        "id": make_object_id(place),
        "num": thread.num,
        "title": thread.title,
        "url": {"web": f"{caller.endpoint}/{place}", "api": f"{caller.endpoint}/api/models/{place}"},
        "status": thread.status,
        "author": {"id": make_object_id(thread.author)},
        "isPullRequest": thread.pull is not None,
    }
    return shown | ({"changes": {"base": f"refs/heads/{thread.pull.base}"}} if thread.pull else {})


def _describe_comment(caller: Caller, repo: Repo, thread: Thread) -> JsonObject:
    newest = [event for event in thread.events if event["type"] == "comment"][-1]
    author, data = newest["author"], newest["data"]
    assert isinstance(author, dict) and isinstance(data, dict) and isinstance(data["latest"], dict)
    return {
        "id": newest["id"],
        "author": {"id": make_object_id(str(author["name"]))},
        "content": data["latest"]["raw"],
        "hidden": False,
        "url": {"web": f"{caller.endpoint}/{repo.id}/discussions/{thread.num}#{newest['id']}"},
    }

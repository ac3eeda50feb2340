"""What a call tells: the Hub's documented payload, newer ones, and bodies that are none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bot.service.webhooks.event import MalformedCallError, parse_call

SHA, OLD = "575db8b7a51b6f85eb06eee540738584589f131c", "ce9a4674fa833a68d5a73ec355f0ea95eedd60b7"

DOCUMENTED: dict[str, Any] = {
    "event": {"action": "update", "scope": "repo.content"},
    "repo": {
        "type": "model",
        "name": "some-user/some-repo",
        "id": "6366c000a2abcdf2fd69a080",
        "private": False,
        "url": {"web": "https://hub.example/some-user/some-repo", "api": "https://hub.example/api/models/some-user/some-repo"},
        "headSha": SHA,
        "tags": ["license:other", "has_space"],
        "owner": {"id": "61d2000c3c2083e1c08af22d"},
    },
    "updatedRefs": [
        {"ref": "refs/heads/main", "oldSha": OLD, "newSha": SHA},
        {"ref": "refs/tags/test", "oldSha": None, "newSha": SHA},
    ],
    "webhook": {"id": "6390e855e30d9209411de93b", "version": 3},
}  # fmt: skip


def body(**changed: Any) -> bytes:
    """The documented payload with other keys."""
    return json.dumps(DOCUMENTED | changed).encode()


def test_the_documented_payload_is_read() -> None:
    change = parse_call(body())
    assert (change.scope, change.action, change.kind) == ("repo.content", "update", "model")
    assert (change.repo, change.owners, change.moved_to) == ("some-user/some-repo", {"some-user"}, None)
    assert change.refs == (("refs/heads/main", SHA), ("refs/tags/test", SHA))
    assert change.tags == {"license:other", "has_space"}
    assert change.describe() == "repo.content update of some-user/some-repo at 575db8b"


@pytest.mark.parametrize(
    ("scope", "action", "taken"),
    [
        ("repo", "create", ("repo", "create")),
        ("repo", "frobnicate", ("repo", "update")),
        ("repo.content", "create", ("repo.content", "update")),
        ("repo.config.dois", "create", ("repo.config", "update")),
        ("repo.weather.rain", "delete", ("repo", "update")),
        ("discussion.comment.reaction", "create", ("discussion.comment", "update")),
        ("bucket", "create", (None, "update")),
        ("", "", (None, "update")),
    ],
)
def test_an_unknown_scope_or_action_is_an_update_of_the_broader_scope(
    scope: str, action: str, taken: tuple[str | None, str]
) -> None:
    change = parse_call(body(event={"action": action, "scope": scope, "newer": [1]}, newer={"key": 1}))
    assert (change.scope, change.action) == taken


def test_calls_that_tell_the_same_have_one_key() -> None:
    key = parse_call(body()).key
    assert parse_call(body(webhook={"id": "another", "version": 3}, newer=1)).key == key
    assert parse_call(body(updatedRefs=list(reversed(DOCUMENTED["updatedRefs"])))).key == key
    other = [{"ref": "refs/heads/main", "oldSha": SHA, "newSha": OLD}]
    assert parse_call(body(updatedRefs=other)).key != key
    back = [{"ref": one["ref"], "oldSha": "0" * 40, "newSha": one["newSha"]} for one in DOCUMENTED["updatedRefs"]]
    assert parse_call(body(updatedRefs=back)).key != key  # a branch that came back to a commit
    assert parse_call(body(repo=DOCUMENTED["repo"] | {"name": "a/b"})).key != key
    # Without a commit, all that is told counts, but for the webhook that it is told to.
    created = body(event={"action": "create", "scope": "repo"}, updatedRefs=None)
    again = body(event={"action": "create", "scope": "repo"}, updatedRefs=None, webhook={"id": "b", "version": 3})
    hidden = body(event={"action": "create", "scope": "repo"}, updatedRefs=None, newer=1)
    assert parse_call(created).key == parse_call(again).key != parse_call(hidden).key


def test_a_moved_repo_has_both_names() -> None:
    moved = parse_call(body(event={"action": "move", "scope": "repo"}, updatedRefs=None, movedTo={"name": "reef/n"}))
    assert (moved.names, moved.owners) == ({"some-user/some-repo", "reef/n"}, {"some-user", "reef"})
    assert moved.describe() == "repo move of some-user/some-repo, now reef/n"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "is not JSON"),
        (body()[:-1] + b', "deep": ' + b"[" * 990 + b"]" * 990 + b"}", ""),
        (b"1" * 10_000, "is not JSON"),
        (body(repo={"type": "model", "name": "a/\ud800"}), "repo.name: Input should be a valid string"),
        (b"[]", "body: Input should be"),
        (b"null", "body: Input should be"),
        (body(event=None), "event: Input should be"),
        (body(repo={"type": "model"}), "repo.name: Field required"),
        (body(repo={"type": "model", "name": "x" * 300}), "repo.name: String should have at most 200"),
        (body(updatedRefs=[{"newSha": SHA}]), "updatedRefs.0.ref: Field required"),
        (body(updatedRefs={"a": 1}), "updatedRefs: Input should be"),
    ],
)
def test_a_body_that_is_no_payload_says_where(content: bytes, fault: str) -> None:
    with pytest.raises(MalformedCallError) as caught:
        parse_call(content)
    assert fault in str(caught.value) and "\n" not in str(caught.value)

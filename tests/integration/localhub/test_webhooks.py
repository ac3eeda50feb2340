"""Webhooks of the local Hub: set up with the genuine client, called when something happens."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from conftest import TestHub
from localhub.store.accounts import WEBHOOKS_READ, TokenScope
from localhub.webhooks.deliveries import call_webhook
from localhub.webhooks.kept import Webhook

REEF = {"type": "org", "name": "reef"}


class Ear:
    """A server that keeps every call: (secret, payload)."""

    def __init__(self) -> None:
        self.heard: list[tuple[str | None, dict[str, Any]]] = []
        ear = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                ear.heard.append((self.headers["X-Webhook-Secret"], body))
                redirected = self.path == "/redirected"
                self.send_response(307 if redirected else 202)
                if redirected:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def listening(self) -> Iterator[Ear]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        yield self
        self._server.shutdown()
        thread.join()
        self._server.server_close()

    def events(self, count: int) -> list[str]:
        """`scope action` of the calls since the last look, once there are so many."""
        deadline = time.monotonic() + 20
        while len(self.heard) < count:
            assert time.monotonic() < deadline, self.heard
            time.sleep(0.005)
        heard, self.heard = self.heard, []
        return [f"{body['event']['scope']} {body['event']['action']}" for _, body in heard]


@pytest.fixture
def ear() -> Iterator[Ear]:
    with Ear().listening() as ear:
        yield ear


def commit(api: HfApi, repo: str, revision: str = "main", *, create_pr: bool = False) -> Any:
    change = CommitOperationAdd("a.txt", str(time.monotonic_ns()).encode())
    return api.create_commit(repo, [change], commit_message="Change", revision=revision, create_pr=create_pr)


def test_a_webhook_is_set_up_listed_changed_switched_and_deleted(hub: TestHub) -> None:
    api, bob = hub.api(), hub.api(hub.other_token)
    made = api.create_webhook(url="https://a.example/webhook", watched=[REEF], domains=["repo"], secret="s3cret")
    assert (made.url, made.domains, made.secret, made.disabled) == (
        "https://a.example/webhook",
        ["repo"],
        "s3cret",
        False,
    )
    changed = api.update_webhook(made.id, watched=[REEF, {"type": "user", "name": "bob"}])
    assert [item.name for item in changed.watched] == ["reef", "bob"] and changed.secret == "s3cret"
    assert api.disable_webhook(made.id).disabled and api.get_webhook(made.id).disabled
    assert not api.enable_webhook(made.id).disabled
    assert [one.id for one in api.list_webhooks()] == [made.id] and bob.list_webhooks() == []
    assert api.get_user_overview("bob").username == "bob" and api.get_organization_overview("reef").name == "reef"
    for deed in (lambda: bob.delete_webhook(made.id), lambda: api.get_user_overview("reef")):
        with pytest.raises(HfHubHTTPError) as caught:
            deed()
        assert caught.value.response.status_code == 404
    api.delete_webhook(made.id)
    assert api.list_webhooks() == []


def test_a_wrong_webhook_or_token_is_refused_and_says_why(hub: TestHub) -> None:
    reader = hub.store.accounts.add_token("ada", role="read")
    narrow = hub.store.accounts.add_token("ada", scopes=[TokenScope("user", "ada", (WEBHOOKS_READ,))])
    good: dict[str, Any] = {"url": "https://a.example", "watched": [REEF]}
    cases: list[tuple[str | bool, dict[str, Any], int, str]] = [
        (False, {}, 401, "Invalid username"),
        (reader, {}, 403, "no user.webhooks.write"),
        (narrow, {}, 403, "no user.webhooks.write"),
        (hub.token, {"url": "ftp://a.example"}, 400, "must begin with https"),
        (hub.token, {"secret": "sécret"}, 400, "only ASCII"),
        (hub.token, {"watched": []}, 400, "at least 1 item"),
        (hub.token, {"watched": [{"type": "tag", "name": "merge"}]}, 400, "'user', 'org', 'model'"),
        (hub.token, {"watched": [{"type": "user", "name": "reef"}]}, 400, "it is of type org"),
        (hub.token, {"watched": [{"type": "user", "name": "nobody"}]}, 400, "there is none"),
        (hub.token, {"watched": [REEF] * 101}, 400, "at most 100"),
    ]
    for token, changed, status, reason in cases:
        with pytest.raises(HfHubHTTPError) as caught:
            hub.api(token).create_webhook(**good | changed)
        assert (caught.value.response.status_code, reason in str(caught.value)) == (status, True), str(caught.value)
    assert hub.api(narrow).list_webhooks() == []


def test_what_happens_in_a_watched_repo_is_told_with_the_secret(hub: TestHub, ear: Ear) -> None:
    api = hub.api()
    webhook = api.create_webhook(url=f"{ear.url}/hook", watched=[REEF], secret="s3cret")
    api.create_repo("reef/m")
    api.create_repo("ada/m")  # nobody watches it
    (first := commit(api, "reef/m"), commit(api, "ada/m"))
    while len(ear.heard) < 2:
        time.sleep(0.005)
    (secret, created), (_, content) = ear.heard
    assert (secret, created["event"]) == ("s3cret", {"action": "create", "scope": "repo"})
    repo = content["repo"]
    assert (repo["type"], repo["name"], repo["private"], repo["headSha"]) == ("model", "reef/m", False, first.oid)
    assert repo["tags"] == ["region:us"] and repo["owner"].keys() == {"id"}
    assert repo["url"] == {"web": f"{hub.endpoint}/reef/m", "api": f"{hub.endpoint}/api/models/reef/m"}
    before = created["repo"]["headSha"]
    assert content["updatedRefs"] == [{"ref": "refs/heads/main", "oldSha": before, "newSha": first.oid}]
    assert content["webhook"] == {"id": webhook.id, "version": 3}
    ear.heard.clear()

    pull = commit(api, "reef/m", create_pr=True)
    assert ear.events(2) == ["discussion create", "repo.content update"]
    api.comment_discussion("reef/m", pull.pr_num, "Good.")
    api.merge_pull_request("reef/m", pull.pr_num)
    assert ear.events(3) == ["discussion.comment create", "discussion update", "repo.content update"]
    api.create_tag("reef/m", tag="v1")
    api.delete_tag("reef/m", tag="v1")
    api.create_branch("reef/m", branch="dev")
    api.delete_branch("reef/m", branch="dev")
    api.update_repo_settings("reef/m", gated="auto")
    api.move_repo("reef/m", "reef/n")
    api.delete_repo("reef/n")
    while len(ear.heard) < 7:
        time.sleep(0.005)
    refs = [one["updatedRefs"][0] for _, one in ear.heard[:4]]
    assert [(ref["ref"], ref["oldSha"] is None, ref["newSha"] is None) for ref in refs] == [
        ("refs/tags/v1", True, False), ("refs/tags/v1", False, True),
        ("refs/heads/dev", True, False), ("refs/heads/dev", False, True),
    ]  # fmt: skip
    assert ear.heard[5][1]["movedTo"]["name"] == "reef/n"
    assert ear.events(7)[4:] == ["repo.config update", "repo move", "repo delete"]


def test_a_webhook_is_not_called_when_it_is_disabled_or_may_not_see_the_repo(hub: TestHub, ear: Ear) -> None:
    api, bob = hub.api(), hub.api(hub.other_token)
    mine = api.create_webhook(url=f"{ear.url}/mine", watched=[REEF])
    bob.create_webhook(url=f"{ear.url}/his", watched=[REEF], domains=["repo"])
    api.create_repo("reef/secret", private=True)
    assert ear.events(1) == ["repo create"]  # only who belongs to the organisation is told
    api.disable_webhook(mine.id)
    api.create_discussion("reef/secret", "Hello")
    api.create_repo("reef/open")
    api.create_discussion("reef/open", "Hello")
    api.delete_repo("reef/open")
    assert ear.events(2) == ["repo create", "repo delete"]


def test_a_call_follows_no_redirect_and_an_address_that_does_not_answer_holds_up_nobody(hub: TestHub, ear: Ear) -> None:
    watched: Any = [REEF]
    silent = Webhook("w", "ada", "http://127.0.0.1:9/", (), ("repo",), "s3cret")
    assert call_webhook(silent, b"{}").status is None
    for url in ("http://127.0.0.1:9/", f"{ear.url}/redirected"):
        hub.api().create_webhook(url=url, watched=watched, secret="s3cret")
    hub.api().create_repo("reef/m")
    deadline = time.monotonic() + 20
    while len(hub.deliveries.made) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert [one.status for one in hub.deliveries.made] == [None, 307]
    assert len(ear.heard) == 1 and "refused" in hub.deliveries.made[0].fault

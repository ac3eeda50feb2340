"""The Hub's calls to `shoal serve`: a genuine server that is called as the Hub calls, and by others; and the whole way
from a commit on the local Hub to the next cycle."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from huggingface_hub import CommitOperationAdd
from starlette.testclient import TestClient

from bot.cycle.run import run_cycle
from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.ledger.ledger import Ledger, State
from bot.progress import Narrator
from bot.service.facts.service_file import ServiceFile
from bot.service.listener import open_listener
from bot.service.log import ServiceFormatter, log_of
from bot.service.page.app import create_page_app, create_webhook_app
from bot.service.page.login.sessions import Sessions, hash_password
from bot.service.page.open import PageBuilder, WebhookOptions
from bot.service.page.server import HOST, page_in_thread
from bot.service.page.views import Desk
from bot.service.retries import Retries
from bot.service.scheduler import DueWatchlists, running_schedule
from bot.service.serve import Service
from bot.service.watchlist_files import read_scheduled
from bot.service.webhooks.receiver import BURST, MOST_BODY_BYTES, Receiver
from bot.service.webhooks.secret import read_webhook_secret
from bot.service.webhooks.wakes import Wakes
from bot.watchlist.watchlist import Watchlist
from conftest import TestHub
from fixtures.cycles import Listener, small_watchlist
from fixtures.shoal_here import Run, shoal
from fixtures.shoal_process import write_watchlist

SECRET = "a-secret-of-the-test"
NOWHERE = Hub("http://127.0.0.1:9", None)
__all__ = ["shoal"]


def payload(commit: str = "a", repo: str = "pia/model") -> dict[str, Any]:
    """A call about a commit."""
    return {
        "event": {"action": "update", "scope": "repo.content"},
        "repo": {"type": "model", "name": repo, "headSha": commit * 40},
        "updatedRefs": [{"ref": "refs/heads/main", "oldSha": None, "newSha": commit * 40}],
    }


class Door:
    """A port for the Hub's calls, whose allowance fills up by hand, and the log."""

    def __init__(self, home: Home, log: pytest.LogCaptureFixture) -> None:
        self.moment, self.log = 0.0, log
        self.wakes = Wakes(home, [small_watchlist(pinned=["pia/model"])])
        self.receiver = Receiver(SECRET, self.wakes, log_of("webhook"), lambda: self.moment)
        self.address = ""

    def call(self, body: Any = None, secret: str | bytes | None = SECRET, **headers: str) -> httpx.Response:
        """A call with a body (bytes, pieces of bytes, or values as JSON)."""
        content = body if isinstance(body, bytes | Iterator) else json.dumps(payload() if body is None else body)
        told: dict[str, Any] = {
            "content-type": "application/json",
            **{key.replace("_", "-"): v for key, v in headers.items()},
        }
        if secret is not None:
            told["x-webhook-secret"] = secret
        return httpx.post(f"{self.address}/webhook", content=content, headers=told, timeout=30)

    def lines(self) -> list[str]:
        """The log's lines without their times; the log is empty then."""
        found = [line.split(" ", 1)[1] for line in self.log.text.splitlines()]
        self.log.clear()
        assert not any(SECRET in line for line in found)
        return found


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "shoal.serve")
    caplog.handler.setFormatter(ServiceFormatter())
    return caplog


@pytest.fixture
def door(tmp_path: Path, log: pytest.LogCaptureFixture) -> Iterator[Door]:
    home = Home(tmp_path / "home")
    door = Door(home, log)
    app = create_webhook_app(Desk(home, NOWHERE), door.receiver, lambda: True)
    with open_listener(HOST, 0) as listener, page_in_thread(app, listener):
        door.address = f"http://{HOST}:{listener.getsockname()[1]}"
        yield door


def test_each_call_is_answered_and_logged_and_the_secret_never_is(door: Door) -> None:
    first = door.call()
    assert (first.status_code, first.json()) == (202, {"decision": "wakes small (pinned)", "watchlists": ["small"]})
    again = door.call()
    assert again.status_code == 200 and again.json()["decision"].startswith("known since 20")
    other = door.call(payload(repo="zoe/unknown"))
    assert (other.status_code, other.json()["decision"]) == (200, "concerns no watchlist")
    told = "INFO webhook: repo.content update of"
    lines = door.lines()
    assert lines[0] == f"{told} pia/model at aaaaaaa: wakes small (pinned)"
    assert lines[1].startswith(f"{told} pia/model at aaaaaaa: known since")
    assert lines[2] == f"{told} zoe/unknown at aaaaaaa: concerns no watchlist"
    forged = door.call(payload(repo="a/b\nERROR webhook: failed\x1b[2J"))
    assert forged.status_code == 200 and not any(line.startswith("ERROR webhook: failed\x1b") for line in door.lines())


def pieces(count: int) -> Iterator[bytes]:
    """A body of unknown length: so many times 64 KiB."""
    return (b" " * 65_536 for _ in range(count))


def test_forged_huge_and_malformed_calls_are_refused_with_the_reason(door: Door) -> None:
    huge, chunks = b"[" * 10_000_000, lambda: pieces(160)
    cases: list[tuple[Callable[[], httpx.Response], int, str]] = [
        (lambda: door.call(secret=None), 401, "no secret"),
        (lambda: door.call(secret=""), 403, "a wrong secret"),
        (lambda: door.call(secret=SECRET + "x"), 403, "a wrong secret"),
        (lambda: door.call(secret=b"s\xe9cret\xff"), 403, "a wrong secret"),
        (lambda: door.call(huge, secret=None), 401, "no secret"),
        (lambda: door.call(chunks(), secret="wrong"), 403, "a wrong secret"),
        (lambda: door.call(huge), 413, f"more than {MOST_BODY_BYTES:,} bytes"),
        (lambda: door.call(chunks()), 413, f"more than {MOST_BODY_BYTES:,} bytes"),
        (lambda: door.call(content_type="text/plain"), 415, "not application/json"),
        (lambda: door.call(b"{"), 400, "not JSON"),
        (lambda: door.call(b"\xff\xfe"), 400, "not JSON"),
        (lambda: door.call({"event": {}}), 400, "event.action: Field required"),
    ]
    for call, status, reason in cases:
        answer = call()
        assert (answer.status_code, answer.json()["watchlists"]) == (status, []), answer.text
        assert reason in answer.json()["decision"]
        (line,) = door.lines()
        assert line.startswith(f"WARNING webhook: refused ({status}) from 127.0.0.1: ") and reason in line
    assert httpx.get(f"{door.address}/webhook").status_code == 405
    assert httpx.get(f"{door.address}/").status_code == 404
    assert httpx.get(f"{door.address}/healthz").json() == {"well": True}
    values = [line for line in httpx.get(f"{door.address}/metrics").text.splitlines() if not line.startswith("#")]
    assert values == ["shoal_well 1"]  # the port may face the internet
    assert door.call().status_code == 202


def test_a_body_that_does_not_come_is_not_waited_for(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow() -> Iterator[bytes]:
        yield b"{"
        time.sleep(0.3)

    monkeypatch.setattr("bot.service.page.routes.webhook.BODY_SECONDS", 0.05)
    assert door.call(slow()).status_code == 408
    assert door.lines() == ["WARNING webhook: refused (408) from 127.0.0.1: the call's body did not come in time"]


def test_a_taken_port_is_a_line_that_names_the_option(door: Door, tmp_path: Path) -> None:
    builder = PageBuilder(Home(tmp_path), NOWHERE, lambda _: NOWHERE, Listener(), ())
    taken = WebhookOptions(SECRET, (HOST, int(door.address.rpartition(":")[2])))
    jobs = cast("Any", SimpleNamespace(is_running=lambda: True))
    with (
        pytest.raises(ShoalError, match=r"--webhook: got \d+: Address already in use; choose another"),
        builder.beside_schedule(None, taken, jobs, DueWatchlists(), Retries(), door.wakes),
    ):
        pass


def test_a_flood_is_refused_cheaply_and_one_of_forged_calls_keeps_no_genuine_one_out(door: Door) -> None:
    with httpx.Client(base_url=door.address, headers={"content-type": "application/json"}) as client:
        forged = [client.post("/webhook", content=b"{}").status_code for _ in range(250)]
        assert forged == [401] * BURST + [429] * (250 - BURST)
        assert door.call().status_code == 202
        genuine = {"x-webhook-secret": SECRET}
        replayed = [client.post("/webhook", json=payload(), headers=genuine).status_code for _ in range(250)]
        assert replayed == [200] * (BURST - 1) + [429] * (250 - BURST + 1)
    lines = door.lines()
    assert len(lines) == 2 * BURST + 3, lines[BURST:]
    assert (
        lines[BURST]
        == "WARNING webhook: too many calls, from 127.0.0.1 and perhaps others: refused (429), without more lines"
    )
    assert lines[BURST + 1] == f"WARNING webhook: {250 - BURST} calls were refused, because there were too many"
    door.moment += 1
    assert door.call(payload("b")).status_code == 202
    assert door.lines()[0] == f"WARNING webhook: {250 - BURST + 1} calls were refused, because there were too many"


def test_a_call_that_cannot_be_recorded_is_one_line_and_the_next_one_is_taken(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "ledger.sqlite")

    with monkeypatch.context() as full:
        full.setattr("bot.service.webhooks.wakes.record_call", fail)
        assert door.call().status_code == 503
    (line,) = door.lines()
    assert line.startswith("ERROR webhook: repo.content update of pia/model at aaaaaaa: ") and "No space left" in line
    assert door.call().status_code == 202


def test_on_the_page_only_calls_need_no_login_and_no_name_of_the_page(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    receiver = Receiver(SECRET, Wakes(home, []), log_of("webhook"))
    sessions = Sessions("anna", hash_password("correct horse"))
    browser = TestClient(
        create_page_app(Desk(home, NOWHERE), sessions, receiver=receiver),
        base_url="https://shoal.example.org",
        follow_redirects=False,
    )
    called = browser.post("/webhook", json=payload(), headers={"x-webhook-secret": SECRET})
    assert (called.status_code, called.cookies, called.json()["decision"]) == (200, {}, "concerns no watchlist")
    for method, path in (
        ("GET", "/"),
        ("POST", "/login"),
        ("POST", "/webhook/"),
        ("GET", "/webhook"),
        ("GET", "/metrics"),
    ):
        assert browser.request(method, path).status_code == 400  # by this name there is nothing but the calls
    closed = TestClient(create_page_app(Desk(home, NOWHERE), sessions), base_url="http://127.0.0.1")
    assert closed.post("/webhook", json=payload(), headers={"x-webhook-secret": SECRET}).status_code == 404


def until(true: Callable[[], Any], step: Callable[[], None] = lambda: time.sleep(0.01)) -> None:
    """Wait for something, step by step."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        step()


class Serving:
    """`shoal serve` with genuine cycles, whose woken watchlists need not wait, and a port for the Hub's calls."""

    def __init__(self, home: Home, hub: Hub, watchlist: Path) -> None:
        self.home, self.hub, self.path = home, hub, watchlist
        with open_listener(HOST, 0) as free:
            self.port = int(free.getsockname()[1])
        self.address = f"http://{HOST}:{self.port}/webhook"
        self.ran: list[str] = []
        self.service: Service

    def __enter__(self) -> Serving:
        secret, files, due = read_webhook_secret(self.home), read_scheduled([self.path]), DueWatchlists()
        assert secret is not None
        watchlists = {file.path: file.watchlist for file in files}
        wakes = Wakes(self.home, watchlists.values(), quiet=timedelta())
        builder = PageBuilder(self.home, self.hub, lambda _: self.hub, Listener(), [self.path])
        with ExitStack() as stack:
            jobs = stack.enter_context(running_schedule(watchlists, self.home, due))
            door = WebhookOptions(secret, (HOST, self.port))
            retries, file = Retries(), ServiceFile(self.home)
            stack.enter_context(builder.beside_schedule(None, door, jobs, due, retries, wakes))
            self.service = Service(files, self.home, self._run, due, jobs, retries, wakes, file)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _run(self, watchlist: Watchlist, narrator: Narrator) -> None:
        self.ran.append(watchlist.name)
        run_cycle(watchlist, self.home, self.hub, narrator)

    def step(self) -> None:
        self.service.run_next(0.02)


def test_a_commit_on_the_hub_is_a_call_and_the_call_is_a_cycle(
    hub: TestHub, tmp_path: Path, shoal: Run, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    hub.store.commit("reef/m", {"README.md": "---\nlicense: mit\n---\n"})
    api, home = hub.api(), Home(tmp_path / "home")
    path = write_watchlist(
        tmp_path / "small.yml", pinned=["reef/m"], publish={"mode": "off"}, schedule={"cron": "0 0 1 1 *"},
        watch={"tags": [], "authors": {"allow": ["reef", "bob"]}},
    )  # fmt: skip
    ledger = Ledger(home.ledger)
    ledger.finish(ledger.begin("small", "d", datetime.now(UTC)).id, State.NOTHING, "", datetime.now(UTC))
    serving = Serving(home, Hub(hub.endpoint, hub.token), path)
    status, out, err = shoal("webhook", "register", serving.address, path, "--home", home.folder, "--json")
    assert status == 0, err
    made = json.loads(out)
    assert [(one["type"], one["name"]) for one in made["watched"]] == [("org", "reef"), ("user", "bob")]

    def commit(repo: str, text: str) -> str:
        change = CommitOperationAdd("config.json", text.encode())
        return api.create_commit(repo, [change], commit_message="Change").oid

    with serving:
        sha = commit("reef/m", "{}")
        until(lambda: len(hub.deliveries.made) == 1)
        assert [one.status for one in hub.deliveries.made] == [202]
        until(lambda: serving.ran, serving.step)
        assert f"INFO small: woken by repo.content update of reef/m at {sha[:7]}" in log.text
        newest = ledger.cycles()[0]
        assert newest.id == "small-2" and "reef/m: it has no model.safetensors" in newest.note
        # What brings nothing new wakes nothing: the same call again, the same repo's discussions.
        call = hub.deliveries.made[0]
        again = httpx.post(
            serving.address, content=call.body,
            headers={"content-type": "application/json", "x-webhook-secret": read_webhook_secret(home) or ""},
        )  # fmt: skip
        assert again.status_code == 200 and "known since" in again.json()["decision"]
        api.create_discussion("reef/m", "Why?")
        serving.step()
        assert serving.ran == ["small"]
        # A new repo of a watched owner, in several commits, is one cycle.
        api.create_repo("reef/new")
        for text in ("{ }", "{  }", "{   }"):
            last = commit("reef/new", text)
        until(lambda: len(hub.deliveries.made) == 5)
        until(lambda: len(serving.ran) == 2, serving.step)
        serving.step()
        assert serving.ran == ["small"] * 2
    ledger.close()
    assert (read_webhook_secret(home) or "") not in log.text
    status, out, _ = shoal("status", "--home", home.folder)
    told = f"repo.content update of reef/new at {last[:7]}"
    assert (
        status == 0 and f"{told}: wakes small (matches what it watches)" in out and "the Hub called last at 20" in out
    )
    page = TestClient(create_page_app(Desk(home, NOWHERE), Sessions("anna")), base_url="http://127.0.0.1")
    assert told in page.get("/").text

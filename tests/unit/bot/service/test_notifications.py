"""Notifications through the genuine apprise, to a small HTTP server of the test's own."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.ledger.ledger import Ledger, ReleaseEntry, State
from bot.service.notifications.addresses import VARIABLE, Address, read_addresses
from bot.service.notifications.messages import TEST_MESSAGE, CycleEnd, render_message
from bot.service.notifications.notifier import Notifier
from bot.service.notifications.send import send_message
from bot.watchlist.load import load_watchlist
from bot.watchlist.watchlist import Watchlist
from fixtures.shoal_process import write_watchlist

HUB = "http://127.0.0.1:9"


class Inbox:
    """A server that keeps the messages it gets. status: its answer. slow: it answers when this is set."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.status = 200
        self.slow: threading.Event | None = None
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                inbox.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                if inbox.slow is not None:
                    inbox.slow.wait(10)
                self.send_response(inbox.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"json://user:secret@127.0.0.1:{self.server.server_port}/inbox"

    @property
    def addresses(self) -> tuple[Address, ...]:
        return read_addresses(Home(Path("/nowhere")), {VARIABLE: self.url})

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.messages]


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    inbox = Inbox()
    yield inbox
    inbox.server.shutdown()
    inbox.server.server_close()


def watchlist_with(folder: Path, *events: str) -> Watchlist:
    return load_watchlist(write_watchlist(folder / "fish.yml", name="fish", notify={"events": list(events)}))


def finished_cycle(home: Home, watchlist: Watchlist, state: State, note: str) -> str:
    ledger = Ledger(home.ledger)
    cycle = ledger.begin(watchlist.name, watchlist.digest, datetime.now(UTC))
    ledger.finish(cycle.id, state, note, datetime.now(UTC))
    ledger.close()
    return cycle.id


def notifier(inbox: Inbox, home: Home) -> Notifier:
    return Notifier(inbox.addresses, home, Hub(HUB, None))


def test_a_message_arrives_with_its_title_and_text(inbox: Inbox) -> None:
    (delivery,) = send_message(inbox.addresses, TEST_MESSAGE)
    assert delivery.fault is None
    assert (inbox.messages[0]["title"], inbox.messages[0]["message"]) == (TEST_MESSAGE.title, TEST_MESSAGE.body)


def test_a_refusal_gives_the_reason_and_no_secret(inbox: Inbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)  # as `shoal serve` has it
    inbox.status = 401
    (delivery,) = send_message(inbox.addresses, TEST_MESSAGE)
    assert delivery.fault is not None
    assert "401" in delivery.fault
    assert "secret" not in f"{delivery}" and caplog.text == ""


def test_a_server_that_never_answers_holds_nothing_up(inbox: Inbox) -> None:
    inbox.slow = threading.Event()
    (delivery,) = send_message(inbox.addresses, TEST_MESSAGE, seconds=0.2)
    inbox.slow.set()
    assert delivery.fault == "no answer within 0.2 seconds"


def test_the_end_of_a_cycle_is_told_if_the_watchlist_asks_for_it(inbox: Inbox, tmp_path: Path) -> None:
    home, watchlist = Home(tmp_path), watchlist_with(tmp_path, "nothing")
    note = "no member is better than the base"
    notifier(inbox, home).run(watchlist, lambda: finished_cycle(home, watchlist, State.NOTHING, note), print)
    notifier(inbox, home).run(watchlist, lambda: finished_cycle(home, watchlist, State.REVIEW, "1 release"), print)
    notifier(inbox, home).run(watchlist, lambda: finished_cycle(home, watchlist, State.UNCHANGED, "as before"), print)
    assert inbox.titles == ["shoal: fish-1 found nothing worth publishing"]
    assert inbox.messages[0]["message"].splitlines() == [
        note,
        f"shoal show fish-1 --home {tmp_path} --endpoint {HUB}",
    ]


def test_a_failure_is_told_once_for_all_retries_with_one_reason(inbox: Inbox, tmp_path: Path) -> None:
    home, watchlist = Home(tmp_path), watchlist_with(tmp_path, "failed")
    telling = notifier(inbox, home)

    def fail(reason: str) -> str:
        raise ShoalError(reason)

    for reason in ("the Hub cannot be reached", "the Hub cannot be reached", "the disk is full"):
        with pytest.raises(ShoalError, match=reason):
            telling.run(watchlist, lambda reason=reason: fail(reason), print)  # type: ignore[misc]
    telling.run(watchlist, lambda: finished_cycle(home, watchlist, State.NOTHING, ""), print)
    with pytest.raises(ShoalError):
        telling.run(watchlist, lambda: fail("the disk is full"), print)
    first_lines = [message["message"].splitlines()[0] for message in inbox.messages]
    assert first_lines == ["the Hub cannot be reached", "the disk is full", "the disk is full"]
    assert set(inbox.titles) == {"shoal: fish failed"}


def test_a_lost_message_is_a_line_of_the_log_and_stops_nothing(inbox: Inbox, tmp_path: Path) -> None:
    inbox.status = 500
    home, watchlist, lines = Home(tmp_path), watchlist_with(tmp_path, "nothing"), list[str]()
    cycle = notifier(inbox, home).run(
        watchlist, lambda: finished_cycle(home, watchlist, State.NOTHING, ""), lines.append
    )
    assert cycle == "fish-1"
    (line,) = lines
    assert line.startswith("the notification did not reach json://user:****@127.0.0.1:")
    assert "500" in line


def test_published_releases_are_named_with_their_addresses() -> None:
    releases = (
        ReleaseEntry("fish-1", "balanced", "r", "org/fish-balanced", {}, "c0ffee"),
        ReleaseEntry("fish-1", "best-math", "s", "org/fish-best-math", {}),
    )
    end = CycleEnd("fish", "published", "fish-1", "1 release published", releases, HUB, ("shoal show fish-1",))
    message = render_message(end)
    assert message.title == "shoal: fish-1 published 1 of 2 releases"
    assert message.body.splitlines() == ["1 release published", f"{HUB}/org/fish-balanced", "shoal show fish-1"]


def test_addresses_come_from_a_private_file(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert read_addresses(home, {}) == ()
    home.notify.write_text("# the team\njson://token@127.0.0.1:9/team\n\nxml://127.0.0.1:9\n", encoding="utf-8")
    home.notify.chmod(0o600)
    assert [address.name for address in read_addresses(home, {})] == [
        "json://token@127.0.0.1:9/****",
        "xml://127.0.0.1:9/",
    ]
    home.notify.chmod(0o644)
    with pytest.raises(ShoalError, match=r"notify: got mode 0644: it holds secrets, .* chmod 600"):
        read_addresses(home, {})


@pytest.mark.parametrize(
    ("text", "got"),
    [("nosuch://s3cret", "an address that begins with nosuch://"), ("s3cret", "a text without scheme://")],
)
def test_a_wrong_address_is_named_by_its_place_and_never_shown(text: str, got: str) -> None:
    with pytest.raises(ShoalError, match=got) as error:
        read_addresses(Home(Path("/nowhere")), {VARIABLE: f"json://127.0.0.1:9 {text}"})
    assert f"{VARIABLE}: address 2" in str(error.value)
    assert "s3cret" not in str(error.value)

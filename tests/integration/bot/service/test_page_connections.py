"""Very many connections to the page, and very slow ones: the others are served, and every place comes back."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress

import httpx
import pytest

from bot.home import Home
from bot.hub.client import Hub
from bot.service.listener import open_listener
from bot.service.page.app import create_page_app
from bot.service.page.events import MOST_OF_A_CLIENT, MOST_STREAMS, Streams
from bot.service.page.login.sessions import Sessions
from bot.service.page.server import HOST, page_in_thread
from bot.service.page.views import Desk
from fixtures.past_cycles import write_past_cycles

CONNECTIONS = 200


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return write_past_cycles(tmp_path_factory.mktemp("home"))


@pytest.fixture
def page(home: Home) -> Iterator[tuple[int, Sessions, Streams]]:
    """The port of a page where people log in, with its sessions and its streams."""
    sessions = Sessions("anna", hub_accounts=True)
    app = create_page_app(Desk(home, Hub("http://127.0.0.1:9", None)), sessions, proxies=["127.0.0.1"])
    with open_listener(HOST, 0) as listener, page_in_thread(app, listener):
        yield listener.getsockname()[1], sessions, app.state.page.streams


def connect(port: int, path: str, cookie: str = "", *, buffer: int | None = None) -> socket.socket:
    """A connection that has sent a request. buffer: bytes that this end takes without anybody reading them."""
    client = socket.socket()
    if buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.settimeout(30)
    client.connect((HOST, port))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nCookie: shoal={cookie}\r\n\r\n".encode())
    return client


def receive(client: socket.socket, end: str) -> str:
    """Read an answer until it has a text; what was read."""
    text = ""
    while end not in text:
        part = client.recv(4096)
        assert part, text
        text += part.decode()
    return text


def is_closed(client: socket.socket) -> bool:
    """Read until the server closes a connection; whether it did."""
    with suppress(ConnectionResetError):
        while client.recv(65536):
            pass
    return True


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_two_hundred_streams_are_cut_down_and_the_other_pages_are_served(
    page: tuple[int, Sessions, Streams],
) -> None:
    port, sessions, streams = page
    people = [sessions.log_in_as(name).id for name in ("anna", *(f"visitor-{number}" for number in range(5)))]
    with ExitStack() as stack:
        heads = []
        for person in (people[0], *people[1:] * 40)[:CONNECTIONS]:
            client = stack.enter_context(connect(port, "/events", person))
            heads.append(receive(client, "\r\n\r\n"))
        answers = Counter(head.split(" ")[1] for head in heads)
        assert answers == {"200": 1 + 5 * MOST_OF_A_CLIENT, "503": CONNECTIONS - 1 - 5 * MOST_OF_A_CLIENT}
        assert all("retry-after: 60" in head for head in heads if " 503 " in head)
        one_more = stack.enter_context(connect(port, "/events", people[1]))
        assert " 503 " in receive(one_more, "too many of your pages are open; close some")
        for _ in range(MOST_STREAMS - 1 - 5 * MOST_OF_A_CLIENT):
            receive(stack.enter_context(connect(port, "/events", people[0])), "data: null")
        late = stack.enter_context(connect(port, "/events", sessions.log_in_as("late").id))
        assert " 503 " in receive(late, "too many people look at this page; try again later")
        with httpx.Client(base_url=f"http://{HOST}:{port}", cookies={"shoal": people[0]}) as browser:
            for path in ("/", "/cycles/small-1", "/healthz"):
                assert browser.get(path).status_code == 200
    wait_until(lambda: streams.take("new") is None)
    wait_until(lambda: streams.take(people[1]) is None)


def test_a_reader_that_does_not_read_is_dropped(
    page: tuple[int, Sessions, Streams], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def endless(_: object, goes_on: Callable[[], bool]) -> AsyncIterator[str]:
        while goes_on():
            yield f"data: {'x' * 1_000_000}\n\n"
            await asyncio.sleep(0)

    monkeypatch.setattr("bot.service.page.connections.STALL_SECONDS", 0.1)
    monkeypatch.setattr("bot.service.page.routes.reading.stream_progress", endless)
    port, sessions, streams = page
    person = sessions.log_in_as("anna").id
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(port, "/events", person, buffer=4096)) for _ in range(3)]
        assert all(b" 200 " in client.recv(100) for client in clients)
        for _ in range(MOST_OF_A_CLIENT - len(clients)):
            assert streams.take(person) is None
        for _ in clients:  # their places come back before anybody reads
            wait_until(lambda: streams.take(person) is None)
        assert all(map(is_closed, clients))
    assert capfd.readouterr().err == ""


def test_a_stream_ends_with_its_login(page: tuple[int, Sessions, Streams]) -> None:
    port, sessions, _ = page
    anna, berta = sessions.log_in_as("anna"), sessions.log_in_as("berta")
    with connect(port, "/events", anna.id) as closing, connect(port, "/events", berta.id) as staying:
        receive(closing, "data: null")
        receive(staying, "data: null")
        sessions.log_out(anna)
        receive(closing, "0\r\n\r\n")
        staying.settimeout(0.1)
        with pytest.raises(TimeoutError):
            staying.recv(1)
        with connect(port, "/events", anna.id) as again:
            assert " 401 " in receive(again, "\r\n\r\n")


def test_a_connection_that_asks_for_nothing_is_closed(
    page: tuple[int, Sessions, Streams], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.service.page.connections.REQUEST_SECONDS", 0.2)
    port, sessions, _ = page
    with socket.create_connection((HOST, port), timeout=30) as silent:
        assert is_closed(silent)
    with socket.create_connection((HOST, port), timeout=30) as endless:
        endless.sendall(b"GET / HTTP/1.1\r\nHost: 127")
        assert is_closed(endless)
    with connect(port, "/assets/page.js") as slow:  # the second request of a connection, too
        slow.sendall(b"GET / HT")
        assert is_closed(slow)
    with connect(port, "/events", sessions.log_in_as("anna").id) as following:
        time.sleep(0.5)
        receive(following, "data: null")
        following.settimeout(0.3)
        with pytest.raises(TimeoutError):
            is_closed(following)


def test_more_connections_than_there_are_places_for_are_closed(
    page: tuple[int, Sessions, Streams], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.service.page.connections.MOST_CONNECTIONS", 20)
    port = page[0]
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.create_connection((HOST, port), timeout=30))
        assert is_closed(stack.enter_context(socket.create_connection((HOST, port), timeout=30)))
    wait_until(lambda: _answers(port))


def _answers(port: int) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://{HOST}:{port}/healthz").status_code == 200
    return False

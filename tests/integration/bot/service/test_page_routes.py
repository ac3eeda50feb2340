"""Every route of the page, as somebody sees it who should not get through."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.testclient import TestClient

from bot.home import Home
from bot.hub.client import Hub
from bot.service.page.app import create_page_app
from bot.service.page.controls import Controls
from bot.service.page.health import RECENT_SECONDS, Health, RecentHealth, check_health
from bot.service.page.login.allow_list import parse_allow_list
from bot.service.page.login.hub_login import HubLogin
from bot.service.page.login.oauth_app import OAuthApp
from bot.service.page.login.sessions import Sessions, hash_password
from bot.service.page.routes.responses import HEADERS
from bot.service.page.views import Desk
from fixtures.past_cycles import write_past_cycles

OPEN = {"/healthz", "/metrics", "/assets/{name}", "/login", "/login/hub", "/login/callback"}
"""Routes that answer before the login: for monitoring, and for the login itself."""

VALUES = {"cycle": "small-1", "role": "balanced", "name": "scores.png", "order": "run", "number": "1"}

BASE = "http://127.0.0.1:8400"
FROM_ELSEWHERE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[TestClient, Sessions]:
    home = write_past_cycles(tmp_path_factory.mktemp("home"))
    hub = Hub("http://127.0.0.1:9", None)
    sessions = Sessions("anna", hash_password("correct horse"), hub_accounts=True)
    login = HubLogin(OAuthApp("id", "secret", hub.endpoint), parse_allow_list(["user:anna"]))
    app = create_page_app(Desk(home, hub), sessions, Controls(home, None), hub_login=login, proxies=["10.0.0.0/8"])
    return TestClient(app, base_url=BASE, follow_redirects=False, client=("10.0.0.7", 4000)), sessions


def routes_of(browser: TestClient) -> Iterator[tuple[str, str, str]]:
    """(method, path as declared, path of a request) of every route."""
    found = [context.route for context in iter_route_contexts(browser.app.routes)]  # type: ignore[attr-defined]
    assert len(found) > 15 and all(isinstance(route, APIRoute) for route in found)
    for route in found:
        assert isinstance(route, APIRoute)
        path = re.sub(r"\{(\w+)\}", lambda name: VALUES.get(name[1], "x"), route.path)
        for method in route.methods:
            yield method, route.path, path


def test_no_route_shows_or_does_anything_before_the_login(page: tuple[TestClient, Sessions]) -> None:
    browser, _ = page
    answers = {
        (method, path): browser.request(method, place).status_code
        for method, path, place in routes_of(browser)
        if path not in OPEN
    }
    assert len(answers) > 10
    assert {status for (method, _), status in answers.items() if method == "GET"} == {303, 401}
    assert {status for (method, _), status in answers.items() if method != "GET"} == {401}


def test_no_route_takes_a_form_without_its_token(page: tuple[TestClient, Sessions]) -> None:
    browser, sessions = page
    browser.cookies.set("shoal", sessions.log_in_as("anna").id)
    forms = [(method, place) for method, _, place in routes_of(browser) if method != "GET"]
    assert len(forms) >= 7
    assert {browser.request(method, place, data={"note": "no"}).status_code for method, place in forms} == {403}
    assert browser.get("/").status_code == 200
    browser.cookies.clear()


def test_no_route_answers_another_site_but_for_links(page: tuple[TestClient, Sessions]) -> None:
    browser, sessions = page
    cookie = {"Cookie": f"shoal={sessions.log_in_as('anna').id}"}  # as if the browser had sent it
    for method, path, place in routes_of(browser):
        assert (path, browser.request(method, place, headers=FROM_ELSEWHERE | cookie).status_code) == (path, 403)
        framed = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
        answer = browser.request(method, place, headers=framed | cookie)
        assert "opens in a window of its own" in answer.text
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        answer = browser.request(method, place, headers=link | cookie)
        if method != "GET":
            assert answer.status_code == 403
        elif path not in OPEN:
            assert 'http-equiv="refresh"' in answer.text and "set-cookie" not in answer.headers


def test_every_answer_has_the_headers_that_protect_its_reader(page: tuple[TestClient, Sessions]) -> None:
    browser, sessions = page
    for cookie in ("", sessions.log_in_as("anna").id):
        browser.cookies.set("shoal", cookie)
        places = [(method, place) for method, path, place in routes_of(browser) if path != "/events"]
        for method, place in (*places, ("GET", "/nothing"), ("POST", "/requests/x/withdraw"), ("PUT", "/")):
            headers = browser.request(method, place).headers
            assert (place, {name: headers.get(name) for name in HEADERS}) == (place, dict(HEADERS))
    browser.cookies.clear()


def test_strangers_cannot_make_the_bot_check_its_health_all_the_time(page: tuple[TestClient, Sessions]) -> None:
    browser, _ = page
    assert browser.get("/healthz").json() == {"well": True}
    assert "shoal_well 1" in browser.get("/metrics").text
    now, checks = [0.0], [0]

    def check() -> Health:
        checks[0] += 1
        return check_health(Desk(Home(Path("/nowhere")), Hub(BASE, None)), None, datetime.now(UTC), only_reads=True)

    recent = RecentHealth(check, lambda: now[0])
    assert recent() is recent() and checks == [1]
    now[0] = RECENT_SECONDS
    assert recent() is recent() and checks == [2]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example@127.0.0.1", "", "[::1"])
def test_a_name_that_the_page_does_not_have_is_refused(page: tuple[TestClient, Sessions], host: str) -> None:
    assert page[0].get("/login", headers={"Host": host}).status_code == 400
    assert page[0].get("/login", headers={"Host": "[::1]:8400"}).status_code == 200


def test_a_client_is_whom_the_nearest_trusted_proxy_names(page: tuple[TestClient, Sessions]) -> None:
    browser, sessions = page

    def guess(forwarded: str, client: TestClient = browser) -> int:
        token = re.search(r'name="token" value="([0-9a-f]+)"', client.get("/login").text)
        assert token is not None
        form = {"token": token[1], "password": "guess"}
        return client.post("/login", data=form, headers={"X-Forwarded-For": forwarded}).status_code

    # What the client itself wrote stands on the left.
    assert [guess(f"192.0.2.{number}, 198.51.100.1") for number in range(6)] == [403] * 5 + [429]
    assert guess("198.51.100.2, 10.0.0.9") == 403
    direct = TestClient(browser.app, base_url=BASE, client=("203.0.113.1", 4000))
    assert [guess(f"192.0.2.{number}", direct) for number in range(6)] == [403] * 5 + [429]
    assert sessions.log_in("correct horse", "192.0.2.1") is not None

"""Logging in at the page with an account of the Hub: the genuine page against the genuine local Hub."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from starlette.testclient import TestClient

from bot.errors import ShoalError
from bot.home import Home
from bot.ledger.ledger import Ledger
from bot.ledger.requests import newest_requests
from bot.service.page.app import create_page_app
from bot.service.page.login.allow_list import parse_allow_list
from bot.service.page.login.hub_login import LOGIN_COOKIE, HubLogin
from bot.service.page.login.oauth_app import OAuthApp, read_oauth_app
from bot.service.page.login.sessions import Sessions
from bot.service.page.open import PageBuilder, PageOptions, read_public_url
from bot.service.page.views import Desk
from fixtures.cycles import Listener
from fixtures.hub_logins import NOWHERE, PageWithLogin, consent, log_in, page_with_login, write_private
from fixtures.past_cycles import write_past_cycles
from localhub import Running, running
from localhub.oauth.grants import Grant, Grants, sign_claims

RELEASE = "/cycles/small-1/releases/balanced"
ALLOW = ("user:anna", "org:reef:write", "org:tide")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return write_past_cycles(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("hub")) as server:
        for user in ("anna", "berta", "carl", "dora", "anna2"):
            server.store.add_user(user)
        server.store.add_org("reef", {"berta": "admin", "carl": "read"})
        server.store.add_org("tide", {"dora": "read"})
        yield server


@pytest.fixture(scope="module")
def page(home: Home, server: Running) -> Iterator[PageWithLogin]:
    with page_with_login(home, server, *ALLOW) as page:
        yield page


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client() as client:
        yield client


@pytest.mark.parametrize("user", ["anna", "berta", "dora"])
def test_whoever_is_on_the_list_gets_in_and_decides_under_the_hubs_name(
    home: Home, page: PageWithLogin, client: httpx.Client, user: str
) -> None:
    start = client.get(f"{page.address}{RELEASE}").headers["location"]
    link = re.search(r'href="(/login/hub[^"]*)"', client.get(f"{page.address}{start}").text)
    assert link is not None
    answer = log_in(client, page.address, user, start=link[1])
    assert answer.status_code == 200 and f'http-equiv="refresh" content="0; url={RELEASE}"' in answer.text
    shown = client.get(f"{page.address}{RELEASE}").text
    assert user in shown and "Log out" in shown
    token = re.search(r'name="token" value="([0-9a-f]+)"', shown)
    assert token is not None
    client.post(f"{page.address}{RELEASE}/reject", data={"token": token[1], "note": "too small"})
    if user == "anna":
        ledger = Ledger(home.ledger)
        assert newest_requests(ledger, "small-1")["balanced"].who == "anna"
        ledger.close()
    client.post(f"{page.address}/logout", data={"token": token[1]})
    assert client.get(f"{page.address}/").status_code == 303


@pytest.mark.parametrize(("user", "orgs"), [("anna2", True), ("carl", True), ("berta", False)])
def test_whoever_is_not_on_the_list_is_told_under_which_name_they_came(
    page: PageWithLogin, client: httpx.Client, user: str, orgs: bool
) -> None:
    answer = log_in(client, page.address, user, orgs=orgs)
    assert answer.status_code == 403
    assert f"You came as {user}, who is not let in" in answer.text and f"--allow user:{user}" in answer.text
    assert client.get(f"{page.address}/").status_code == 303


def test_a_role_is_asked_for_only_where_it_decides(page: PageWithLogin, client: httpx.Client) -> None:
    def asked(user: str) -> bool:
        client.cookies.clear()
        back = consent(client, client.get(f"{page.address}/login/hub").headers["location"], user)
        return "orgIds" in client.get(back.headers["location"]).headers.get("location", "")

    assert [asked(user) for user in ("anna", "berta", "carl", "dora", "anna2")] == [False, True, True, False, False]


def test_the_way_back_from_the_hub_cannot_be_forged(page: PageWithLogin, client: httpx.Client) -> None:
    place = client.get(f"{page.address}/login/hub").headers["location"]
    sent = {name: values[0] for name, values in parse_qs(urlsplit(place).query).items()}
    assert sent["code_challenge_method"] == "S256" and sent["scope"] == "openid profile"
    cookie = client.cookies[LOGIN_COOKIE]
    assert not {sent["state"], sent["nonce"], sent["code_challenge"]} & {cookie, *cookie.split(".")}
    back = consent(client, place, "anna").headers["location"]
    code = parse_qs(urlsplit(back).query)["code"][0]

    def answer(cookie: str | None, **query: str) -> str:
        headers = {"Cookie": f"{LOGIN_COOKIE}={cookie}".encode()} if cookie else {}
        found = httpx.get(f"{page.address}/login/callback?{urlencode(query)}", headers=headers)
        assert found.status_code in (403, 502) and "set-cookie" not in found.headers
        return found.text

    another_browser = "begun in another browser"
    assert another_browser in answer(None, code=code, state=sent["state"])
    assert another_browser in answer(cookie, code=code, state="x" * 43)
    assert another_browser in answer(cookie, code=code)
    assert another_browser in answer("1" + cookie, code=code, state=sent["state"])
    assert another_browser in answer("é", code=code, state="é")
    assert "refused on the Hub" in answer(cookie, error="access_denied", state=sent["state"])
    assert "did not log you in" in answer(cookie, state=sent["state"])
    assert "The Hub refused the login" in answer(cookie, code="of-another-login", state=sent["state"])
    with httpx.Client() as other:  # somebody else's code, under one's own state: PKCE
        there = consent(other, other.get(f"{page.address}/login/hub").headers["location"], "berta").headers["location"]
        stolen = parse_qs(urlsplit(there).query)["code"][0]
        assert "refused the login (status 400)" in answer(cookie, code=stolen, state=sent["state"])
    assert client.get(back).status_code == 200
    assert client.get(back).status_code in (403, 502)  # each code and each cookie is for once


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "/cycles/a/../..//evil.example", "/logout"]
)
def test_no_login_leads_to_another_site(page: PageWithLogin, client: httpx.Client, target: str) -> None:
    answer = log_in(client, page.address, "anna", start=f"/login/hub?{urlencode({'next': target})}")
    assert 'content="0; url=/"' in answer.text
    again = client.get(f"{page.address}/login?{urlencode({'next': target})}")
    assert again.headers["location"] == "/"


def test_no_token_is_in_any_answer_cookie_or_line_of_the_log(
    page: PageWithLogin, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot_token = "hf_the_token_of_the_bot_itself"
    monkeypatch.setenv("HF_TOKEN", bot_token)
    seen: list[str] = []
    tokens: list[str] = []

    def exchange(*sent: str) -> tuple[str, Grant]:
        token, grant = give_token(*sent)
        tokens.append(token)
        return token, grant

    def sign(*sent: Any) -> str:
        tokens.append(sign_claims(*sent))
        return tokens[-1]

    give_token = Grants.exchange
    monkeypatch.setattr(Grants, "exchange", exchange)
    monkeypatch.setattr("localhub.oauth.routes_oauth.sign_claims", sign)

    def see(answer: httpx.Response) -> None:
        if answer.request.url.host == "127.0.0.1":
            seen.append(f"{answer.headers} {answer.read().decode(errors='replace')}")

    with caplog.at_level(logging.DEBUG), httpx.Client(event_hooks={"response": [see]}) as client:
        log_in(client, page.address, "berta")
        paths = ("/", "/cycles/small-1", RELEASE, "/healthz", "/metrics", "/login", "/nothing", "/assets/page.js")
        for path in paths:
            client.get(page.address + path)
        token = re.search(r'name="token" value="([0-9a-f]+)"', client.get(f"{page.address}/").text)
        assert token is not None
        client.post(f"{page.address}{RELEASE}/publish", data={"token": token[1]})
        log_in(client, page.address, "anna2")
    assert len(tokens) >= 6 and len(seen) > 12
    secrets = [*tokens, page.secret, bot_token]
    told = "\n".join([*seen, caplog.text])
    assert [secret for secret in secrets if secret in told] == []
    assert "berta logged in with an account of the Hub from 127.0.0.1" in caplog.text


@pytest.mark.parametrize(
    ("provider", "reason"),
    [("http://127.0.0.1:9", "the Hub cannot be reached"), ("{hub}/api", "the Hub refused the login (status 404)")],
)
def test_a_hub_that_does_not_answer_is_a_page_that_says_so(
    tmp_path: Path, server: Running, provider: str, reason: str
) -> None:
    place = provider.format(hub=server.endpoint)
    login = HubLogin(OAuthApp("id", "secret", place), parse_allow_list(["user:anna"]))
    app = create_page_app(Desk(Home(tmp_path), NOWHERE), Sessions("anna", hub_accounts=True), hub_login=login)
    answer = TestClient(app, base_url="http://127.0.0.1:8400").get("/login/hub")
    assert (answer.status_code, reason[1:] in answer.text) == (502, True)


@pytest.mark.parametrize(
    ("options", "file", "reason"),
    [
        (
            {"host": "0.0.0.0"},
            "",
            r"--host: got 0\.0\.0\.0: others could reach .*--set-password`, .* --allow user:NAME",
        ),
        ({"url": "https://shoal.example"}, "", r"--url: got https://shoal\.example: others could reach .*--allow"),
        ({"names": ("localhost", "*.example")}, "", r"--name: got \*\.example: others could reach .*--allow"),
        ({"allow": ("user:anna",)}, "", r"--allow: got 'user:anna', but there is no OAuth app: .*page-oauth \(chmod"),
        ({"allow": ("anna",)}, "ok", r"--allow: got 'anna': write user:NAME, org:NAME or org:NAME:ROLE"),
        ({"allow": ("org:reef:boss",)}, "ok", r"--allow: got 'org:reef:boss': .* read, contributor, write, admin"),
        ({"allow": ("user:anna",)}, "OAUTH_CLIENT_ID=a\n", r"page-oauth: OAUTH_CLIENT_SECRET is missing"),
        ({"allow": ("user:anna",)}, "hf_secret\n", r"page-oauth:1: write NAME=VALUE, with OAUTH_CLIENT_ID"),
        ({"allow": ("user:anna",)}, "ok OPENID_PROVIDER_URL=http://hub.example", r"begins with https://"),
        ({"allow": ("user:anna",), "host": "0.0.0.0"}, "ok", r"--allow: the Hub must know .* add --url https://HOST"),
        ({"url": "https://shoal.example/page"}, "", r"--url: got .*: write scheme and host alone"),
        ({"url": "http://shoal.example"}, "", r"--url: got .*: logins need https://"),
        ({"proxies": ("10.0.0.1/8",)}, "", r"--proxy: got '10\.0\.0\.1/8': write the proxy's address or network"),
    ],
)
def test_a_wrong_option_is_a_line_with_the_remedy(
    tmp_path: Path, options: dict[str, Any], file: str, reason: str
) -> None:
    home = Home(tmp_path)
    if file:
        app = "OAUTH_CLIENT_ID=a\nOAUTH_CLIENT_SECRET=b\n"
        write_private(home.page_oauth, file.replace("ok", app) if file.startswith("ok") else file)
    builder = PageBuilder(home, NOWHERE, lambda _: NOWHERE, Listener(), ())
    with (
        pytest.raises(ShoalError, match=reason) as error,
        builder.opened(PageOptions(port=0, **{"host": "127.0.0.1"} | options)),
    ):
        pass
    assert "hf_secret" not in str(error.value)
    if file:
        home.page_oauth.chmod(0o640)
        with pytest.raises(ShoalError, match="got mode 0640: it holds a secret"):
            read_oauth_app(home.page_oauth, NOWHERE.endpoint, {})


def test_a_space_brings_its_own_app_and_address(tmp_path: Path) -> None:
    given = {"OAUTH_CLIENT_ID": "a", "OAUTH_CLIENT_SECRET": "b", "OPENID_PROVIDER_URL": "https://hub.example/"}
    assert read_oauth_app(tmp_path / "none", NOWHERE.endpoint, given) == OAuthApp("a", "b", "https://hub.example")
    assert "b'" not in repr(OAuthApp("a", "b", "https://hub.example"))
    assert read_public_url(None, {"SPACE_HOST": "anna-shoal.hf.space"}) == "https://anna-shoal.hf.space"
    assert read_public_url(None, {}) is None


def test_behind_tls_the_cookies_are_for_tls_and_the_way_back_leads_there(
    tmp_path: Path, server: Running, client: httpx.Client
) -> None:
    with page_with_login(Home(tmp_path), server, "user:anna", url="https://shoal.example") as page:
        by_proxy = {"Host": "shoal.example"}
        answer = client.get(f"{page.address}/login/hub", headers=by_proxy)
        sent = parse_qs(urlsplit(answer.headers["location"]).query)
        assert sent["redirect_uri"] == ["https://shoal.example/login/callback"]
        state_cookie = answer.headers["set-cookie"]
        assert all(word in state_cookie for word in ("HttpOnly", "SameSite=lax", "Secure", "Path=/login/callback"))
        back = consent(client, answer.headers["location"], "anna").headers["location"]
        assert back.startswith("https://shoal.example/login/callback?")
        query = back.partition("?")[2]
        headers = by_proxy | {"Cookie": state_cookie.partition(";")[0]}
        answer = client.get(f"{page.address}/login/callback?{query}", headers=headers)
        session = next(one for one in answer.headers.get_list("set-cookie") if one.startswith("__Host-shoal="))
        assert all(word in session for word in ("HttpOnly", "SameSite=strict", "Secure", "Path=/"))
        headers = by_proxy | {"Cookie": session.partition(";")[0]}
        assert client.get(f"{page.address}/", headers=headers).status_code == 200
        # Whoever comes through a tunnel goes to the address that the Hub knows.
        assert client.get(f"{page.address}/login/hub").headers["location"] == "https://shoal.example/login"

"""Logs people in with their account of the Hub: OpenID Connect's authorization code flow, with PKCE.

OpenID Connect Core 1.0, section 3.1; RFC 7636. What the login needs to know again when the browser comes back is
derived from a cookie and a secret of this process, so nothing is kept meanwhile. The access token is used once, to ask
for the person's name and organisations, and kept nowhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode

import httpx2
from pydantic import BaseModel, Field, ValidationError

from bot.errors import ShoalError
from bot.service.page.login.allow_list import HUB_NAME, AllowList, HubPerson, Membership
from bot.service.page.login.attempts import Attempts
from bot.service.page.login.oauth_app import OAuthApp
from bot.service.page.login.targets import local_target

Parsed = TypeVar("Parsed", bound=BaseModel)

LOGIN_COOKIE = "shoal-login"

LOGIN_SECONDS = 600
"""Seconds in which a person has to come back from the Hub."""

HUB_SECONDS = 15.0
"""Seconds that one call to the Hub may take."""

SCOPE = "openid profile"
"""What the login asks for: the name and the organisations, and no access to anything."""


class LoginFailedError(ShoalError):
    """Nobody was logged in; the message is for the person. status: of the answer."""

    def __init__(self, message: str, status: int = 403) -> None:
        super().__init__(message)
        self.status = status


class HubProvider(BaseModel):
    """Where the Hub's login is (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str


class _Tokens(BaseModel):
    access_token: str = Field(repr=False)
    id_token: str = Field(repr=False)


class _Claims(BaseModel):
    """Of the ID token, what has to be checked."""

    iss: str
    aud: str | list[str]
    sub: str
    exp: float
    nonce: str


class _Org(BaseModel):
    sub: str
    preferred_username: str
    roleInOrg: str | None = None  # noqa: N815 - the Hub's name
    pendingSSO: bool | None = None  # noqa: N815
    missingMFA: bool | None = None  # noqa: N815
    securityRestrictions: list[str] | None = None  # noqa: N815


class _UserInfo(BaseModel):
    sub: str
    preferred_username: str
    orgs: list[_Org] | None = None


@dataclass(frozen=True)
class BegunLogin:
    """The address to send a browser to, and the cookie that it has to bring back."""

    url: str
    cookie: str


@dataclass(frozen=True)
class FinishedLogin:
    """Who has logged in, and the path of the page to show.

    again: the login that asks for the organisations whose role decides; None where nothing more can be asked.
    """

    person: HubPerson
    target: str
    again: BegunLogin | None


class HubLogin:
    """The login with accounts of the Hub."""

    def __init__(self, app: OAuthApp, allowed: AllowList, clock: Callable[[], float] = time.time) -> None:
        self.allowed = allowed
        self._app = app
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._provider: HubProvider | None = None
        self._attempts = Attempts(clock)

    async def begin(self, redirect_uri: str, target: str) -> BegunLogin:
        """Begin a login. redirect_uri: where the Hub sends the browser back to. target: the path to show afterwards."""
        return self._begin(await self._find_provider(), redirect_uri, target, ())

    async def finish(
        self, cookie: str | None, answer: Mapping[str, str], redirect_uri: str, address: str
    ) -> FinishedLogin:
        """Find out who has come back. answer: the query that the Hub sent the browser with. address: the client's.

        Raises:
            LoginFailedError: the login was begun elsewhere or too long ago, or the Hub does not say who it is.
        """
        cookie = self._check_state(cookie, answer.get("state", ""))
        if "code" not in answer:
            refused = answer.get("error") == "access_denied"
            raise LoginFailedError("the login was refused on the Hub" if refused else "the Hub did not log you in")
        provider = await self._find_provider()
        # Each code is a question to the Hub, in this app's name.
        if self._attempts.seconds_to_wait(address) > 0:
            raise LoginFailedError("there were too many failed logins; try again in a minute", 429)
        try:
            person = await self._identify(provider, cookie, answer["code"], redirect_uri)
        except LoginFailedError:
            self._attempts.fail(address)
            raise
        self._attempts.succeed(address)
        target, asked = _read_cookie(cookie)
        unseen = () if asked or self.allowed.admits(person) else self.allowed.find_unseen_orgs(person)
        again = self._begin(provider, redirect_uri, target, unseen) if unseen else None
        return FinishedLogin(person, target, again)

    def _begin(self, provider: HubProvider, redirect_uri: str, target: str, orgs: Sequence[str]) -> BegunLogin:
        cookie = f"{int(self._clock())}.{secrets.token_urlsafe(32)}.{int(bool(orgs))}.{_encode(target.encode())}"
        challenge = _encode(hashlib.sha256(self._derive("verifier", cookie).encode()).digest())
        query = [
            ("response_type", "code"), ("client_id", self._app.id), ("redirect_uri", redirect_uri), ("scope", SCOPE),
            ("state", self._derive("state", cookie)), ("nonce", self._derive("nonce", cookie)),
            ("code_challenge", challenge), ("code_challenge_method", "S256"), *(("orgIds", org) for org in orgs),
        ]  # fmt: skip
        return BegunLogin(f"{provider.authorization_endpoint}?{urlencode(query)}", cookie)

    def _derive(self, purpose: str, cookie: str) -> str:
        """A value that only this process can make of a cookie: 43 characters, as PKCE wants of a verifier."""
        return _encode(hmac.new(self._secret, f"{purpose}.{cookie}".encode(), hashlib.sha256).digest())

    def _check_state(self, cookie: str | None, state: str) -> str:
        """The cookie, if the state was made of it, lately."""
        if cookie is not None and hmac.compare_digest(self._derive("state", cookie).encode(), state.encode()):
            began = int(cookie.partition(".")[0])
            if began >= self._clock() - LOGIN_SECONDS:
                return cookie
        raise LoginFailedError("this login was begun in another browser, or more than ten minutes ago")

    async def _find_provider(self) -> HubProvider:
        if self._provider is None:
            async with _client() as client:
                content = await _ask(client, "GET", f"{self._app.provider}/.well-known/openid-configuration")
            provider = _parse(HubProvider, content)
            scheme = self._app.provider.partition("://")[0]
            places = (provider.authorization_endpoint, provider.token_endpoint, provider.userinfo_endpoint)
            if provider.issuer.rstrip("/") != self._app.provider or any(
                place.partition("://")[0] not in ("https", scheme) for place in places
            ):
                raise LoginFailedError(f"{self._app.provider} describes the login of another Hub", 502)
            self._provider = provider
        return self._provider

    async def _identify(self, provider: HubProvider, cookie: str, code: str, redirect_uri: str) -> HubPerson:
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri,
            "code_verifier": self._derive("verifier", cookie),
        }  # fmt: skip
        async with _client() as client:
            owner = httpx2.BasicAuth(self._app.id, self._app.secret)
            tokens = _parse(_Tokens, await _ask(client, "POST", provider.token_endpoint, data=form, auth=owner))
            claims = self._check_claims(provider, tokens.id_token, self._derive("nonce", cookie))
            bearer = {"Authorization": f"Bearer {tokens.access_token}"}
            info = _parse(_UserInfo, await _ask(client, "GET", provider.userinfo_endpoint, headers=bearer))
        if info.sub != claims.sub or not HUB_NAME.fullmatch(info.preferred_username):
            raise LoginFailedError("the Hub's answers do not fit together", 502)
        return HubPerson(info.preferred_username, tuple(map(_membership, info.orgs or ())))

    def _check_claims(self, provider: HubProvider, id_token: str, nonce: str) -> _Claims:
        """The claims of an ID token, if it is for this login.

        Its signature need not be checked, because it comes from the Hub itself and not through the browser (OpenID
        Connect Core 1.0, section 3.1.3.7).
        """
        try:
            claims = _parse(_Claims, _decode(id_token.split(".")[1]))
        except (IndexError, ValueError) as error:
            raise LoginFailedError("the Hub's answer cannot be read", 502) from error
        audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        if (
            (claims.iss, audience) != (provider.issuer, [self._app.id])
            or claims.exp < self._clock() - 60
            or not hmac.compare_digest(claims.nonce.encode(), nonce.encode())
        ):
            raise LoginFailedError("the Hub's answer is for another login", 502)
        return claims


def _client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(timeout=HUB_SECONDS, follow_redirects=False)


async def _ask(client: httpx2.AsyncClient, method: str, url: str, **values: object) -> bytes:
    """The content of an answer with status 200. No error says what was sent, for that is secret."""
    try:
        answer = await client.request(method, url, **values)  # type: ignore[arg-type]
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise LoginFailedError(f"the Hub cannot be reached ({type(error).__name__}); try again later", 502) from None
    if answer.status_code != 200:
        raise LoginFailedError(f"the Hub refused the login (status {answer.status_code}); log in again", 502)
    return answer.content


def _parse(model: type[Parsed], content: bytes) -> Parsed:
    try:
        return model.model_validate_json(content)
    except ValidationError:
        raise LoginFailedError("the Hub's answer cannot be read", 502) from None


def _membership(org: _Org) -> Membership:
    barred = bool(org.pendingSSO or org.missingMFA or org.securityRestrictions)
    return Membership(org.preferred_username, org.sub, org.roleInOrg, barred)


def _read_cookie(cookie: str) -> tuple[str, bool]:
    """(the path to show, whether organisations were asked for) of a cookie that is known to be ours."""
    _, _, asked, target = cookie.split(".")
    return local_target(_decode(target).decode()), asked == "1"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

"""Who looks at the page: sessions in a cookie, tokens against forged forms, and the password where there is one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from bot.service.page.login.attempts import Attempts

COOKIE, SECURE_COOKIE = "shoal", "__Host-shoal"
"""The cookie's name, and the one over HTTPS: browsers take that from this host alone (RFC 6265bis, section 4.1.3)."""

SESSION_SECONDS = 12 * 3600.0
"""Seconds after which a person has to log in again."""

MOST_SESSIONS = 1000
"""Logins that are remembered; the oldest goes first."""

_COST, _BLOCK, _PARALLEL, _BYTES = 2**15, 8, 1, 32
"""scrypt's parameters (RFC 7914): 32 MB and about a tenth of a second."""


@dataclass(frozen=True)
class Session:
    """One browser.

    who: the person's name; None before the login. form_token: what its forms must send back. is_login: whether the
    person has logged in, and so can log out. is_secure: whether its cookie is for HTTPS alone.
    """

    id: str
    who: str | None
    form_token: str
    is_login: bool
    is_secure: bool = False

    @property
    def cookie(self) -> str:
        """The name of its cookie."""
        return SECURE_COOKIE if self.is_secure else COOKIE


class TooManyTriesError(Exception):
    """Passwords are not looked at now. seconds: until they are."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


def hash_password(password: str) -> str:
    """A password as it may be kept: `scrypt$SALT$HASH`."""
    salt = secrets.token_bytes(16)
    return f"scrypt${_encode(salt)}${_encode(_scrypt(password, salt))}"


def is_password(password: str, kept: str) -> bool:
    """Whether it is the password that was kept; ValueError if that is none."""
    scheme, salt, digest = kept.strip().split("$")
    if scheme != "scrypt":
        raise ValueError(f"unknown scheme {scheme}")
    return hmac.compare_digest(_scrypt(password, _decode(salt)), _decode(digest))


class Sessions:
    """The sessions of one server. They end with it."""

    def __init__(
        self,
        user: str,
        password: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        hub_accounts: bool = False,
        is_secure: bool = False,
    ) -> None:
        """The sessions of a page that needs a login if it has a password or takes accounts of the Hub.

        user: the name of whoever uses the page without an account. password: as `hash_password` makes it. is_secure:
        whether browsers reach the page over HTTPS alone.
        """
        self._user = user
        self._password = password
        self._clock = clock
        self._hub_accounts = hub_accounts
        self.is_secure = is_secure
        self._secret = secrets.token_bytes(32)
        self._logins: dict[str, tuple[str, float]] = {}
        self._attempts = Attempts(clock)
        self._trying = threading.Lock()  # one at a time, so that many at once cannot pass the limit

    @property
    def cookie(self) -> str:
        """The name of the cookie with a session's id."""
        return SECURE_COOKIE if self.is_secure else COOKIE

    @property
    def has_password(self) -> bool:
        """Whether people can log in with a password."""
        return self._password is not None

    @property
    def needs_login(self) -> bool:
        """Whether people have to log in."""
        return self.has_password or self._hub_accounts

    def session(self, cookie: str | None) -> Session:
        """The session of a request; a new one where its cookie is none of ours."""
        known = cookie if cookie is not None and len(cookie) == 43 else secrets.token_urlsafe(32)
        who = self._logged_in(known) if self.needs_login else self._user
        token = hmac.new(self._secret, known.encode(), hashlib.sha256).hexdigest()
        return Session(known, who, token, self.needs_login and who is not None, self.is_secure)

    def log_in(self, password: str, address: str = "") -> Session | None:
        """A new session for the right password; None for a wrong one.

        address: of the client, whose wrong passwords are counted.

        Raises:
            TooManyTriesError: after too many wrong ones; the password was not even looked at.
        """
        with self._trying:
            if (seconds := self._attempts.seconds_to_wait(address)) > 0:
                raise TooManyTriesError(seconds)
            if self._password is None or not is_password(password, self._password):
                self._attempts.fail(address)
                return None
            self._attempts.succeed(address)
        return self.log_in_as(self._user)

    def log_in_as(self, person: str) -> Session:
        """A new session for somebody who is known by name."""
        id = secrets.token_urlsafe(32)
        self._logins[id] = (person, self._clock() + SESSION_SECONDS)
        while len(self._logins) > MOST_SESSIONS:
            self._logins.pop(next(iter(self._logins)), None)
        return self.session(id)

    def log_out(self, session: Session) -> None:
        """Forget a login."""
        self._logins.pop(session.id, None)

    def _logged_in(self, session: str) -> str | None:
        person, end = self._logins.get(session, (None, 0.0))
        return person if end > self._clock() else None


def is_form_token(session: Session, token: str) -> bool:
    """Whether a form was sent from a page of this session."""
    return hmac.compare_digest(session.form_token.encode(), token.encode())


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_COST, r=_BLOCK, p=_PARALLEL, maxmem=2**26, dklen=_BYTES)


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text, validate=True)

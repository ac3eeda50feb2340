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

COOKIE = "shoal"

SESSION_SECONDS = 12 * 3600.0
"""Seconds after which a person has to log in again."""

MOST_SESSIONS = 1000
"""Logins that are remembered; the oldest goes first."""

TRIES, TRIES_SECONDS = 5, 60.0
"""Wrong passwords that are taken within so many seconds, from anywhere; further ones are not even looked at."""

_COST, _BLOCK, _PARALLEL, _BYTES = 2**15, 8, 1, 32
"""scrypt's parameters (RFC 7914): 32 MB and about a tenth of a second."""


@dataclass(frozen=True)
class Session:
    """One browser.

    who: the person's name; None before the login. form_token: what its forms must send back. is_login: whether the
    person has logged in, and so can log out.
    """

    id: str
    who: str | None
    form_token: str
    is_login: bool


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

    def __init__(self, user: str, password: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """user: the name of whoever uses the page. password: as `hash_password` makes it; None: no login is needed."""
        self._user = user
        self._password = password
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._logins: dict[str, float] = {}
        self._wrong: list[float] = []
        self._trying = threading.Lock()  # one at a time, so that many at once cannot pass the limit

    @property
    def needs_login(self) -> bool:
        """Whether there is a password."""
        return self._password is not None

    def session(self, cookie: str | None) -> Session:
        """The session of a request; a new one where its cookie is none of ours."""
        known = cookie if cookie is not None and len(cookie) == 43 else secrets.token_urlsafe(32)
        who = self._user if not self.needs_login or self._is_logged_in(known) else None
        token = hmac.new(self._secret, known.encode(), hashlib.sha256).hexdigest()
        return Session(known, who, token, self.needs_login and who is not None)

    def log_in(self, password: str) -> Session | None:
        """A new session for the right password; None for a wrong one, or after too many wrong ones."""
        now = self._clock()
        with self._trying:
            self._wrong = [moment for moment in self._wrong if moment > now - TRIES_SECONDS]
            if self._password is None or len(self._wrong) >= TRIES:
                return None
            if not is_password(password, self._password):
                self._wrong.append(now)
                return None
        session = self.session(None)
        self._logins[session.id] = now + SESSION_SECONDS
        while len(self._logins) > MOST_SESSIONS:
            del self._logins[next(iter(self._logins))]
        return self.session(session.id)

    def log_out(self, session: Session) -> None:
        """Forget a login."""
        self._logins.pop(session.id, None)

    def _is_logged_in(self, session: str) -> bool:
        return self._logins.get(session, 0.0) > self._clock()


def is_form_token(session: Session, token: str) -> bool:
    """Whether a form was sent from a page of this session."""
    return hmac.compare_digest(session.form_token.encode(), token.encode())


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_COST, r=_BLOCK, p=_PARALLEL, maxmem=2**26, dklen=_BYTES)


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text, validate=True)

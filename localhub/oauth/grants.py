"""What people have granted to OAuth apps: codes, each for one exchange, and the access tokens that they give.

Both are forgotten when the server stops.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from dataclasses import dataclass, field

from localhub.errors import HubError

CODE_SECONDS, TOKEN_SECONDS = 60.0, 8 * 3600


@dataclass(frozen=True)
class Grant:
    """A person's consent. orgs: the ids of the organisations of which the app may see more than the name.

    challenge: PKCE's, by S256; empty for an app that sent none.
    """

    client: str
    redirect_uri: str
    user: str
    scope: str
    nonce: str
    challenge: str
    orgs: frozenset[str]
    granted: float = field(default_factory=time.time)


class Grants:
    """The grants of one server."""

    def __init__(self) -> None:
        self._codes: dict[str, Grant] = {}
        self._tokens: dict[str, Grant] = {}
        self._lock = threading.Lock()

    def give_code(self, grant: Grant) -> str:
        """A code for a grant."""
        code = secrets.token_urlsafe(24)
        with self._lock:
            self._codes[code] = grant
        return code

    def exchange(self, code: str, client: str, redirect_uri: str, verifier: str) -> tuple[str, Grant]:
        """An access token for a code; a 400 for one that is not valid any more, or not for this client."""
        with self._lock:
            grant = self._codes.pop(code, None)
        if (
            grant is None
            or grant.granted < time.time() - CODE_SECONDS
            or (grant.client, grant.redirect_uri) != (client, redirect_uri)
            or (grant.challenge and not hmac.compare_digest(grant.challenge, _challenge_of(verifier)))
        ):
            raise HubError(400, "The code is not valid", body={"error": "invalid_grant"})
        token = "hf_oauth_" + secrets.token_urlsafe(32)
        with self._lock:
            self._tokens[token] = grant
        return token, grant

    def of_token(self, token: str) -> Grant:
        """What an access token grants; a 401 for an unknown one."""
        grant = self._tokens.get(token)
        if grant is None or grant.granted < time.time() - TOKEN_SECONDS:
            raise HubError(401, "Invalid credentials in Authorization header")
        return grant


def sign_claims(claims: dict[str, object], secret: str) -> str:
    """An ID token, by HS256 with the app's secret (RFC 7519). The Hub's own are signed by RS256."""
    head = _encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    signed = f"{head}.{_encode(json.dumps(claims).encode())}"
    return f"{signed}.{_encode(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())}"


def _challenge_of(verifier: str) -> str:
    return _encode(hashlib.sha256(verifier.encode()).digest())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")

"""URL paths in which an escaped slash stays inside its segment: the client sends the revision `refs/pr/1` as
`refs%2Fpr%2F1`, which an ordinary server would split in three."""

from __future__ import annotations

from urllib.parse import unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send

PLAIN_PATH = "plain_path"  # key of the unescaped path in the ASGI scope
_KEPT_SLASH = "\ue000"  # replaces %2F while the route is chosen


class _Revision(Convertor[str]):
    """One segment, or `refs/pr/N` and its like written with plain slashes."""

    regex = "refs/[a-z]+/[^/]+|[^/]+"

    def convert(self, value: str) -> str:
        return value.replace(_KEPT_SLASH, "/")


class _File(_Revision):
    """The rest of the path."""

    regex = ".+"


register_url_convertor("revision", _Revision())
register_url_convertor("file", _File())


class KeepEscapedSlashes:
    """Middleware that hides escaped slashes from the router; the convertors above bring them back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw = scope["raw_path"].partition(b"?")[0].decode("ascii", errors="replace")
            segments = (unquote(part, errors="replace").replace("/", _KEPT_SLASH) for part in raw.split("/"))
            scope = {**scope, "path": "/".join(segments), PLAIN_PATH: unquote(raw, errors="replace")}
        await self._app(scope, receive, send)

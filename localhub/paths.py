"""URL paths in which an escaped slash stays inside its segment, as clients send `refs%2Fpr%2F1` for a
revision."""

from __future__ import annotations

from urllib.parse import unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send

PLAIN_PATH = "plain_path"  # the key of the scope under which the unescaped path is kept
_KEPT_SLASH = "\ue000"  # stands for %2F while the route is chosen


class _Revision(Convertor[str]):
    """One segment, or `refs/pr/N` and its like written with plain slashes."""

    regex = "refs/[a-z]+/[^/]+|[^/]+"

    def convert(self, value: str) -> str:
        """The revision as it was meant."""
        return value.replace(_KEPT_SLASH, "/")

    def to_string(self, value: str) -> str:
        """The revision as one segment."""
        return value.replace("/", _KEPT_SLASH)


class _File(_Revision):
    """The rest of the path."""

    regex = ".+"


register_url_convertor("revision", _Revision())
register_url_convertor("file", _File())


class KeepEscapedSlashes:
    """Middleware that gives routes the path with escaped slashes told apart from plain ones."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw = scope["raw_path"].partition(b"?")[0].decode("ascii", errors="replace")
            segments = (unquote(part, errors="replace").replace("/", _KEPT_SLASH) for part in raw.split("/"))
            scope = {**scope, "path": "/".join(segments), PLAIN_PATH: unquote(raw, errors="replace")}
        await self._app(scope, receive, send)

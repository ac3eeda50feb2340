"""The application: all routes, and how errors become answers."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from localhub.errors import HubError
from localhub.jobs import routes_jobs
from localhub.oauth import routes_oauth
from localhub.oauth.apps import OAuthApps
from localhub.oauth.grants import Grants
from localhub.pages import routes_pages
from localhub.protocol import (
    routes_account,
    routes_collections,
    routes_discussions,
    routes_files,
    routes_models,
    routes_repos,
)
from localhub.protocol.access import Limits
from localhub.protocol.faults import Faults, InjectFaults
from localhub.protocol.url_paths import KeepEscapedSlashes
from localhub.shelves import routes_reading, routes_spaces, routes_writing
from localhub.store.store import Store
from localhub.webhooks import routes_webhooks
from localhub.webhooks.deliveries import Deliveries
from localhub.webhooks.kept import Webhooks
from localhub.xet import routes_xet
from localhub.xet.storage import XetStorage

# The first route that matches answers, so the pages, which match almost any path, come last.
ROUTES = (
    routes_account, routes_oauth, routes_collections, routes_reading, routes_writing, routes_spaces, routes_jobs,
    routes_discussions, routes_webhooks, routes_xet, routes_models, routes_repos, routes_files, routes_pages,
)  # fmt: skip


def create_app(
    root: Path | str, faults: Faults | None = None, limits: Limits | None = None, *, xet: bool = False
) -> FastAPI:
    """The Hub in the folder `root`, which is made if it does not exist.

    xet: whether large files go through a Xet storage, and small ones come from a cache, as on the real Hub. One client
    process at a time can use it.
    """
    app = FastAPI(title="Local Hub", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    store = app.state.store = Store(root)
    app.state.oauth_apps, app.state.grants = OAuthApps(store.root), Grants()
    app.state.limits = limits or Limits()
    app.state.deliveries = Deliveries(
        Webhooks(store.root), lambda user, repo: store.accounts.belongs(user, repo.partition("/")[0])
    )
    app.state.xet = XetStorage(store) if xet else None
    for module in ROUTES:
        app.include_router(module.router)
    app.exception_handler(HubError)(_on_hub_error)
    app.exception_handler(HTTPException)(_on_http_error)
    app.exception_handler(RequestValidationError)(_on_invalid)
    app.add_middleware(AnswerHead)
    if faults is not None:
        app.add_middleware(InjectFaults, faults=faults)
    app.add_middleware(KeepEscapedSlashes)
    return app


class AnswerHead:
    """Middleware that answers HEAD as GET without the body; downloads have an answer of their own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        if scope["type"] == "http" and scope["method"] == "HEAD" and "/resolve" not in scope["path"]:
            await self._app({**scope, "method": "GET"}, receive, send_head)
        else:
            await self._app(scope, receive, send)


def _on_hub_error(request: Request, error: HubError) -> Response:
    if routes_pages.wants_page(request) and error.status >= 400:
        return routes_pages.render_error(error)
    headers = {**error.headers, "X-Error-Message": _encode_header(error.message)}
    if error.code:
        headers["X-Error-Code"] = error.code
    return JSONResponse({"error": error.message, **error.body}, error.status, headers)


def _on_http_error(request: Request, error: HTTPException) -> Response:
    absent = error.status_code in (404, 405)
    reason = "No such route on the local Hub" if absent else error.detail
    return _on_hub_error(request, HubError(error.status_code, f"{reason}: {request.method} {request.url.path}"))


def _on_invalid(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    received = "" if first["type"] == "missing" else f", not {str(first.get('input'))[:80]!r}"
    return _on_hub_error(request, HubError(400, f"Invalid {place}: {first['msg']}{received}"))


def _encode_header(text: str) -> str:
    """The text on one line of Latin-1, which is all that a header may hold."""
    return " ".join(text.split()).encode("latin-1", errors="replace").decode("latin-1")[:500]

"""The page's routes. All of them only read; whoever may open the port sees what the bot does, and no secret of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from bot.errors import ShoalError
from bot.service.page.events import Streams, stream_progress
from bot.service.page.health import Health, check_health, render_metrics
from bot.service.page.views import Desk, NotFoundError
from localhub.pages.markup import render_card
from templates import FOLDER
from templates.html import render_html

HOSTS = ["127.0.0.1", "localhost", "[::1]", "::1"]
"""Names by which a browser on this machine reaches the page; any other may be an attempt at DNS rebinding."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' https: data:; style-src 'self'; "
    # A card's tables are aligned by attributes; whatever else they could hold was removed.
    "style-src-attr 'unsafe-inline'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_ASSETS = {"hub_style.css": "text/css", "page.css": "text/css", "page.js": "text/javascript"}
_PICTURE_TYPES = {"png": "image/png", "svg": "image/svg+xml"}


def create_page_app(desk: Desk, scheduler_runs: Callable[[], bool] | None = None) -> FastAPI:
    """The page of a home. scheduler_runs: whether the schedule of this process is alive; None where it has none."""
    app = FastAPI(title="shoal", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.include_router(_make_router(desk, Streams()))
    app.include_router(_make_probes(lambda: check_health(desk, scheduler_runs, datetime.now(UTC))))
    app.exception_handler(NotFoundError)(lambda _, error: _render_error(404, str(error)))
    app.exception_handler(ShoalError)(lambda _, error: _render_error(500, str(error)))
    app.exception_handler(HTTPException)(_on_http_error)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)
    return app


def _make_router(desk: Desk, streams: Streams) -> APIRouter:
    router = APIRouter()

    @router.get("/")
    def show_overview() -> HTMLResponse:
        return _render("overview", view=desk.overview())

    @router.get("/cycles/{cycle}")
    def show_cycle(cycle: str, x: str | None = None, y: str | None = None, member: str | None = None) -> HTMLResponse:
        return _render("cycle", view=desk.cycle(cycle, x, y, member))

    @router.get("/cycles/{cycle}/releases/{role}")
    def show_release(cycle: str, role: str) -> HTMLResponse:
        view = desk.release(cycle, role)
        pictures = f"/cycles/{cycle}/releases/{role}/pictures/"
        return _render("release", view=view, card=render_card(view.card, pictures, f"{view.url}/blob/main/"))

    @router.get("/cycles/{cycle}/releases/{role}/pictures/{name}")
    def get_picture(cycle: str, role: str, name: str) -> Response:
        content = desk.picture(cycle, role, name)
        return Response(content, media_type=_PICTURE_TYPES[name.rpartition(".")[2]], headers=_HEADERS)

    @router.get("/events")
    async def follow_progress() -> Response:
        if not streams.take():
            return PlainTextResponse(
                "too many pages are open; close some", 503, headers=_HEADERS | {"Retry-After": "60"}
            )
        headers = _HEADERS | {"X-Accel-Buffering": "no"}
        events = stream_progress(desk.progress, streams)
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    @router.get("/assets/{name}")
    def get_asset(name: str) -> Response:
        if name not in _ASSETS:
            raise NotFoundError(f"there is no {name[:60]}")
        return Response((FOLDER / name).read_bytes(), media_type=_ASSETS[name], headers=_HEADERS)

    return router


def _make_probes(check: Callable[[], Health]) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz")
    def get_health() -> JSONResponse:
        health = check()
        return JSONResponse(health.as_json(), 200 if health.is_well else 503, headers=_HEADERS)

    @router.get("/metrics")
    def get_metrics() -> PlainTextResponse:
        return PlainTextResponse(render_metrics(check()), media_type="text/plain; version=0.0.4", headers=_HEADERS)

    return router


def _render(name: str, **values: object) -> HTMLResponse:
    return HTMLResponse(render_html(f"page_{name}.html.j2", **values), headers=_HEADERS)


def _render_error(status: int, message: str) -> HTMLResponse:
    page = _render("error", status=status, message=message)
    page.status_code = status
    return page


def _on_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _render_error(error.status_code, "There is nothing here." if error.status_code == 404 else error.detail)

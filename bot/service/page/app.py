"""The application: which routes it has, whom it lets in, and how errors become pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from bot.errors import EXPECTED, error_message
from bot.service.page.controls import ConflictError, Controls
from bot.service.page.events import Streams
from bot.service.page.health import check_health, render_metrics
from bot.service.page.login.hub_login import HubLogin, LoginFailedError
from bot.service.page.login.sessions import Sessions
from bot.service.page.routes.access import (
    CameFromElsewhere,
    IsFramed,
    LoginNeeded,
    PageState,
    check_fetch,
    request_session,
    requested_target,
)
from bot.service.page.routes.acting import acting
from bot.service.page.routes.logging_in import router as logging_in
from bot.service.page.routes.reading import router as reading
from bot.service.page.routes.responses import (
    HEADERS,
    render_failure,
    render_framed,
    render_page,
    render_sent_on,
    see_other,
)
from bot.service.page.views import Desk, NotFoundError

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]", "::1")
"""Names by which a browser on this machine reaches the page; any other may be an attempt at DNS rebinding."""

SchedulerRuns = Callable[[], bool]


def create_page_app(
    desk: Desk,
    sessions: Sessions,
    controls: Controls | None = None,
    *,
    scheduler_runs: SchedulerRuns | None = None,
    hosts: Sequence[str] = LOOPBACK_NAMES,
    hub_login: HubLogin | None = None,
    public_url: str | None = None,
    proxies: Sequence[str] = (),
) -> FastAPI:
    """The page of a home.

    controls: what people may do; None: they only look. scheduler_runs: whether the schedule of this process is alive;
    None where it has none. hosts: names by which browsers may ask for the page. hub_login, public_url: as in
    `PageState`. proxies: addresses and networks of the proxies whose word for a client's address is taken.
    """
    app = FastAPI(
        title="shoal", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False,
        dependencies=[Depends(check_fetch)],
    )  # fmt: skip
    app.state.page = PageState(desk, sessions, controls, Streams(), hub_login, public_url)
    app.include_router(_make_probes(desk, scheduler_runs))
    app.include_router(reading)
    if controls is not None:
        app.include_router(acting)
    if sessions.needs_login:
        app.include_router(logging_in)
    _handle_errors(app)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    if proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(proxies))
    return app


def _handle_errors(app: FastAPI) -> None:
    """Make pages of findings and errors."""
    app.exception_handler(LoginNeeded)(lambda request, _: _ask_to_log_in(request))
    app.exception_handler(CameFromElsewhere)(lambda request, _: render_sent_on(requested_target(request)))
    app.exception_handler(IsFramed)(lambda request, _: render_framed(requested_target(request)))
    app.exception_handler(LoginFailedError)(
        lambda _, error: render_page("login_failed", None, error.status, message=str(error))
    )
    for kind, status in ((NotFoundError, 404), (ConflictError, 409), *((expected, 500) for expected in EXPECTED)):
        app.exception_handler(kind)(lambda _, error, status=status: render_failure(status, error_message(error)))
    app.exception_handler(HTTPException)(_on_http_error)


def _make_probes(desk: Desk, scheduler_runs: SchedulerRuns | None) -> APIRouter:
    """Routes for monitoring. They are open: they say whether all is well, and why not only to whoever may log in."""
    router = APIRouter()

    @router.get("/healthz")
    def get_health(request: Request) -> JSONResponse:
        health = check_health(desk, scheduler_runs, datetime.now(UTC))
        may_know = request_session(request).who is not None
        content = health.as_json() if may_know else {"well": health.is_well}
        return JSONResponse(content, 200 if health.is_well else 503, headers=dict(HEADERS))

    @router.get("/metrics")
    def get_metrics() -> PlainTextResponse:
        text = render_metrics(check_health(desk, scheduler_runs, datetime.now(UTC)))
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4", headers=dict(HEADERS))

    return router


def _ask_to_log_in(request: Request) -> Response:
    if request.method == "GET" and request.url.path != "/events":
        target = requested_target(request)
        return see_other("/login" if target == "/" else f"/login?{urlencode({'next': target})}")
    return render_failure(401, "Log in first.")


def _on_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return render_failure(error.status_code, "There is nothing here." if error.status_code == 404 else error.detail)

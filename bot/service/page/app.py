"""The application: which routes it has, whom it lets in, and how errors become pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, FastAPI, Request, params
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from bot.errors import EXPECTED, error_message
from bot.service.page.controls import ConflictError, Controls
from bot.service.page.events import Streams
from bot.service.page.health import Health, RecentHealth, check_health, render_metrics
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
from bot.service.page.routes.webhook import WEBHOOK_PATH, webhook_route
from bot.service.page.views import Desk, NotFoundError
from bot.service.webhooks.receiver import Receiver

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]", "::1")
"""Names by which a browser on this machine reaches the page; any other may be an attempt at DNS rebinding."""

NOTHING_HERE = "There is nothing here."

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
    receiver: Receiver | None = None,
) -> FastAPI:
    """The page of a home.

    controls: what people may do; None: they only look. scheduler_runs: whether the schedule of this process is alive;
    None where it has none. hosts: names by which browsers may ask for the page. hub_login, public_url: as in
    `PageState`. proxies: addresses and networks of the proxies whose word for a client's address is taken. receiver:
    takes the Hub's calls, where they come to this port.
    """
    app = _make_app([Depends(check_fetch)])
    app.state.page = PageState(desk, sessions, controls, app.state.streams, hub_login, public_url)
    only_reads = controls is None and scheduler_runs is None
    app.include_router(
        _make_probes(
            desk, scheduler_runs, lambda request: request_session(request).who is not None, only_reads=only_reads
        )
    )
    if receiver is not None:
        app.include_router(webhook_route(receiver))
    app.include_router(reading)
    if controls is not None:
        app.include_router(acting)
    if sessions.needs_login:
        app.include_router(logging_in)
    _handle_errors(app)
    app.add_middleware(HostCheck, allowed_hosts=list(hosts), www_redirect=False)
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
    app.exception_handler(RequestValidationError)(lambda *_: render_failure(404, NOTHING_HERE))


def create_webhook_app(desk: Desk, receiver: Receiver, scheduler_runs: SchedulerRuns) -> FastAPI:
    """A port for the Hub's calls alone, which everybody may reach: it says whether the bot is well, no more."""
    app = _make_app()
    app.include_router(_make_probes(desk, scheduler_runs, lambda _: False, tells_metrics=False))
    app.include_router(webhook_route(receiver))
    app.exception_handler(HTTPException)(_on_http_error)
    return app


class HostCheck(TrustedHostMiddleware):
    """Lets browsers in only by the names that the page has. The Hub's calls carry a secret, and may use any name."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        is_call = scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == WEBHOOK_PATH
        await (self.app if is_call else super().__call__)(scope, receive, send)


def _make_app(dependencies: Sequence[params.Depends] = ()) -> FastAPI:
    """An application without routes. dependencies: what every route of it asks first."""
    app = FastAPI(
        title="shoal", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False,
        dependencies=list(dependencies),
    )  # fmt: skip
    app.state.streams = Streams()
    return app


def _is_somebody(request: Request) -> bool:
    return request_session(request).who is not None


def _make_probes(
    desk: Desk,
    scheduler_runs: SchedulerRuns | None,
    may_know: Callable[[Request], bool],
    *,
    only_reads: bool = False,
    tells_metrics: bool = True,
) -> APIRouter:
    """Routes for monitoring. They are open: they say whether all is well, and why not only to whoever may log in.

    tells_metrics: whether all of the metrics are open, or only that all is well.
    """
    router = APIRouter()

    def check() -> Health:
        return check_health(desk, scheduler_runs, datetime.now(UTC), only_reads=only_reads)

    check_recently = RecentHealth(check)

    @router.get("/healthz")
    def get_health(request: Request) -> JSONResponse:
        health = check() if (knows := may_know(request)) else check_recently()
        content = health.as_json() if knows else {"well": health.is_well}
        return JSONResponse(content, 200 if health.is_well else 503, headers=dict(HEADERS))

    @router.get("/metrics")
    def get_metrics(request: Request) -> PlainTextResponse:
        knows = may_know(request)
        text = render_metrics(check() if knows else check_recently(), is_open=knows or tells_metrics)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4", headers=dict(HEADERS))

    return router


def _ask_to_log_in(request: Request) -> Response:
    if request.method == "GET" and request.url.path != "/events":
        target = requested_target(request)
        return see_other("/login" if target == "/" else f"/login?{urlencode({'next': target})}")
    return render_failure(401, "Log in first.")


def _on_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return render_failure(error.status_code, NOTHING_HERE if error.status_code == 404 else error.detail)

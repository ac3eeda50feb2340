"""The application: all routes, and how errors become answers."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from localhub import (
    pages,
    routes_account,
    routes_collections,
    routes_files,
    routes_lfs,
    routes_models,
    routes_social,
    routes_write,
)
from localhub.access import Limits
from localhub.errors import HubError
from localhub.faults import Faults, InjectFaults
from localhub.paths import KeepEscapedSlashes
from localhub.store import Store

ROUTERS = (
    routes_account,
    routes_collections,
    routes_social,
    routes_models,
    routes_write,
    routes_lfs,
    routes_files,
    pages,
)


def create_app(root: Path | str, faults: Faults | None = None, limits: Limits | None = None) -> FastAPI:
    """The Hub on the folder `root`, which is made if it is not there."""
    app = FastAPI(title="Local Hub", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.store = Store(root)
    app.state.limits = limits or Limits()
    for module in ROUTERS:
        app.include_router(module.router)
    app.add_exception_handler(HubError, _on_hub_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    if faults is not None:
        app.add_middleware(InjectFaults, faults=faults)
    app.add_middleware(KeepEscapedSlashes)
    return app


def _on_hub_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HubError)
    if pages.wanted_by(request) and error.status >= 400:
        return pages.error_page(error)
    headers = {**error.headers, "X-Error-Message": _header(error.message)}
    if error.code:
        headers["X-Error-Code"] = error.code
    return JSONResponse({"error": error.message, **error.body}, error.status, headers)


def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path}"
    if error.status_code in (404, 405):
        message = f"No such route on the local Hub: {what}"
        return _on_hub_error(request, HubError(error.status_code, message))
    return _on_hub_error(request, HubError(error.status_code, f"{error.detail}: {what}"))


def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    message = f"Invalid {place}: {first['msg']}, not {str(first.get('input'))[:80]!r}"
    return _on_hub_error(request, HubError(400, message))


def _header(text: str) -> str:
    """A text as a header may carry it: one line of Latin-1."""
    return " ".join(text.split()).encode("latin-1", errors="replace").decode("latin-1")[:500]

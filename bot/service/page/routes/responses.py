"""Answers with the headers that keep a page from being used against its reader."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fastapi.responses import HTMLResponse, Response

from bot.service.page.login.sessions import COOKIE, Session
from templates.html import render_html

HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": "default-src 'none'; img-src 'self' https: data:; style-src 'self'; "
        # A card's tables are aligned by attributes; whatever else they could hold was removed.
        "style-src-attr 'unsafe-inline'; script-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        # Not no-referrer: with that, browsers name no origin for forms, either, and `read_form` would refuse them.
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
)


def render_page(name: str, session: Session | None, status: int = 200, **values: object) -> HTMLResponse:
    """The page of `templates/page_NAME.html.j2`, and the cookie that its forms need; session None: it has no forms."""
    html = render_html(f"page_{name}.html.j2", session=session, **values)
    response = HTMLResponse(html, status, dict(HEADERS))
    if session is not None:
        set_session(response, session)
    return response


def set_session(response: Response, session: Session) -> None:
    """Give the browser its session: unreadable for scripts, and not sent with the forms of other sites.

    "strict" would log a person out who follows a link from a mail: without the cookie, they would get another one.
    """
    response.set_cookie(COOKIE, session.id, httponly=True, samesite="lax", path="/")


def render_failure(status: int, message: str) -> HTMLResponse:
    """The page of an error."""
    return render_page("error", None, status, code=status, message=message)

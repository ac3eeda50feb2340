"""Answers with the headers that keep a page from being used against its reader."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fastapi.responses import HTMLResponse, RedirectResponse, Response

from bot.service.page.login.sessions import Session
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
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
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
    """Give the browser its session: unreadable for scripts, and not sent with anything that begins on another site."""
    response.set_cookie(
        session.cookie, session.id, httponly=True, samesite="strict", secure=session.is_secure, path="/"
    )


def render_sent_on(target: str, session: Session | None = None) -> HTMLResponse:
    """A page that sends the browser on to one of ours.

    What a link of another site leads to gets no cookie of ours, and neither do redirects from there; what a page of
    ours leads to does. session: a new one to give it.
    """
    response = render_page("sent_on", None, target=target)
    if session is not None:
        set_session(response, session)
    return response


def render_framed(url: str) -> HTMLResponse:
    """What is shown of a page within another site's page: a link that opens it in a window of its own."""
    response = render_page("framed", None, url=url)
    policy = HEADERS["Content-Security-Policy"].replace("frame-ancestors 'none'", "frame-ancestors *")
    response.headers["Content-Security-Policy"] = policy
    return response


def render_failure(status: int, message: str) -> HTMLResponse:
    """The page of an error."""
    return render_page("error", None, status, code=status, message=message)


def see_other(path: str) -> Response:
    """Send the browser to another page of ours, after a form."""
    return RedirectResponse(path, 303, headers=dict(HEADERS))

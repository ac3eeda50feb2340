"""Lets requests in: where they come from, whose session they belong to, and whether a form is from a page of ours."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from bot.service.page.controls import Controls
from bot.service.page.events import Streams
from bot.service.page.login.hub_login import HubLogin
from bot.service.page.login.sessions import Session, Sessions, is_form_token
from bot.service.page.login.targets import local_target
from bot.service.page.views import Desk

MOST_FORM_BYTES, FORM_SECONDS = 16_384, 15.0


@dataclass(frozen=True)
class PageState:
    """What the routes use.

    controls: None where the page only shows. hub_login: None where people cannot log in with an account of the Hub.
    public_url: where browsers reach the page, without a slash at its end; None: at the address they asked for.
    """

    desk: Desk
    sessions: Sessions
    controls: Controls | None
    streams: Streams
    hub_login: HubLogin | None = None
    public_url: str | None = None


class LoginNeeded(Exception):  # noqa: N818 - a finding, not a fault
    """Nobody has logged in; the request goes to the login page."""


class CameFromElsewhere(Exception):  # noqa: N818 - a finding, not a fault
    """A link of another site led here, so the browser did not send its cookie. It will, when the page sends it on."""


class IsFramed(Exception):  # noqa: N818 - a finding, not a fault
    """Another site shows the page within its own; it is only shown in a window of its own."""


def page_state(request: Request) -> PageState:
    """What the routes use."""
    state: PageState = request.app.state.page
    return state


def check_fetch(request: Request) -> None:
    """Let other sites do no more than link to a page; a dependency of every route.

    Browsers say what a request is for (Fetch Metadata). Without this, any site could hold streams of a page on this
    machine open. Other clients send no such headers, and have no cookies that could be misused.

    Raises:
        HTTPException: 403 for anything but a link. IsFramed: the page would be part of another.
    """
    site, purpose = request.headers.get("sec-fetch-site", "none"), request.headers.get("sec-fetch-dest", "")
    if site in ("same-origin", "none"):
        return
    if purpose in ("iframe", "frame", "embed", "object"):
        raise IsFramed
    if request.method not in ("GET", "HEAD") or request.headers.get("sec-fetch-mode") != "navigate":
        raise HTTPException(403, "The request was sent from another site.")


def request_session(request: Request) -> Session:
    """The request's session, logged in or not."""
    sessions = page_state(request).sessions
    return sessions.session(request.cookies.get(sessions.cookie))


def any_session(request: Request) -> Session:
    """The session of somebody who may not have logged in; CameFromElsewhere if their cookie is still missing."""
    if request.headers.get("sec-fetch-site") == "cross-site" and request.method == "GET":
        raise CameFromElsewhere
    return request_session(request)


def person_session(request: Request) -> Session:
    """The session of somebody who may see the page; LoginNeeded if nobody has logged in."""
    session = any_session(request)
    if session.who is None:
        raise LoginNeeded
    return session


def requested_target(request: Request) -> str:
    """The path of the page that was asked for, with its query."""
    query = request.url.query
    return local_target(request.scope.get("raw_path", b"/").decode("latin-1") + (f"?{query}" if query else ""))


def client_address(request: Request) -> str:
    """The address of the client, as the nearest proxy that we trust gives it."""
    return request.client.host if request.client else ""


async def read_form(request: Request, session: Session) -> dict[str, str]:
    """The fields of a form. Browsers say where a form comes from; the token is for those that do not.

    Raises:
        HTTPException: 403 for one that was not sent from a page of this session, 408 for a slow one, 413 for a large
            one.
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, "The form was sent from another site.")
    body = b""
    try:
        async with asyncio.timeout(FORM_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > MOST_FORM_BYTES:
                    raise HTTPException(413, "The form is too large.")
    except TimeoutError:
        raise HTTPException(408, "The form took too long.") from None
    fields = dict(parse_qsl(body.decode("utf-8", errors="replace"), keep_blank_values=True))
    if not is_form_token(session, fields.pop("token", "")):
        raise HTTPException(403, "The page is too old for this; load it again.")
    return fields


PageStateOf = Annotated[PageState, Depends(page_state)]
Person = Annotated[Session, Depends(person_session)]
Anyone = Annotated[Session, Depends(any_session)]

"""Lets requests in: whose session they belong to, and whether a form was sent from a page of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from bot.service.page.controls import Controls
from bot.service.page.events import Streams
from bot.service.page.login.sessions import COOKIE, Session, Sessions, is_form_token
from bot.service.page.views import Desk

MOST_FORM_BYTES = 16_384


@dataclass(frozen=True)
class PageState:
    """What the routes use. controls: None where the page only shows."""

    desk: Desk
    sessions: Sessions
    controls: Controls | None
    streams: Streams


class LoginNeeded(Exception):  # noqa: N818 - a finding, not a fault
    """Nobody has logged in; the request goes to the login page."""


def page_state(request: Request) -> PageState:
    """What the routes use."""
    state: PageState = request.app.state.page
    return state


def any_session(request: Request) -> Session:
    """The request's session, logged in or not."""
    return page_state(request).sessions.session(request.cookies.get(COOKIE))


def person_session(request: Request) -> Session:
    """The session of somebody who may see the page; LoginNeeded if nobody has logged in."""
    session = any_session(request)
    if session.who is None:
        raise LoginNeeded
    return session


async def read_form(request: Request, session: Session) -> dict[str, str]:
    """The fields of a form. Browsers say where a form comes from; the token is for those that do not.

    Raises:
        HTTPException: 403 for one that was not sent from a page of this session, 413 for a large one.
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, "The form was sent from another site.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_FORM_BYTES:
            raise HTTPException(413, "The form is too large.")
    fields = dict(parse_qsl(body.decode("utf-8", errors="replace"), keep_blank_values=True))
    if not is_form_token(session, fields.pop("token", "")):
        raise HTTPException(403, "The page is too old for this; load it again.")
    return fields


PageStateOf = Annotated[PageState, Depends(page_state)]
Person = Annotated[Session, Depends(person_session)]
Anyone = Annotated[Session, Depends(any_session)]

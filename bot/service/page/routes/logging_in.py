"""Logging in and out: with the page's password, or with an account of the Hub."""

from __future__ import annotations

import asyncio
import math
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from bot.service.log import log_of
from bot.service.page.login.hub_login import LOGIN_COOKIE, LOGIN_SECONDS, BegunLogin, HubLogin, LoginFailedError
from bot.service.page.login.sessions import Session, TooManyTriesError
from bot.service.page.login.targets import local_target
from bot.service.page.routes.access import Anyone, PageState, PageStateOf, Person, client_address, read_form
from bot.service.page.routes.responses import HEADERS, render_page, render_sent_on, see_other, set_session

router = APIRouter()
"""Routes of a page that needs a login."""

HUB_LOGIN_PATH = "/login/hub"
CALLBACK_PATH = "/login/callback"
"""Where the Hub sends the browser back to; the OAuth app has to know it."""

Next = Annotated[str, Query()]


@router.get("/login")
def get_login_page(state: PageStateOf, session: Anyone, next: Next = "/") -> Response:
    """The ways to log in. next: the path to show afterwards."""
    if session.who is not None:
        return see_other(local_target(next))
    return _render_login(state, session, next)


@router.post("/login")
async def log_in(request: Request, state: PageStateOf, session: Anyone) -> Response:
    """Log in with the password."""
    form = await read_form(request, session)
    target, address = form.get("next", "/"), client_address(request)
    try:
        # In a thread, because a password takes a tenth of a second to check.
        found = await asyncio.to_thread(state.sessions.log_in, form.get("password", ""), address)
    except TooManyTriesError as error:
        seconds = math.ceil(error.seconds)
        fault = f"There were too many wrong passwords; try again in {seconds} seconds."
        answer = _render_login(state, session, target, fault, 429)
        answer.headers["Retry-After"] = str(seconds)
        return answer
    if found is None:
        log_of("page").warning(f"a wrong password from {address}")
        return _render_login(state, session, target, "That is not the password.", 403)
    log_of("page").info(f"somebody logged in with the password from {address}")
    answer = see_other(local_target(target))
    set_session(answer, found)
    return answer


@router.get(HUB_LOGIN_PATH)
async def begin_hub_login(request: Request, state: PageStateOf, next: Next = "/") -> Response:
    """Send the browser to the Hub."""
    login, target = _hub_login(state), local_target(next)
    if state.public_url and urlsplit(state.public_url).netloc != request.headers.get("host"):
        # The Hub sends the browser back there, where it has to have its cookie.
        return RedirectResponse(f"{state.public_url}/login", 303, headers=dict(HEADERS))
    return _send_to_hub(state, await login.begin(_callback_url(request, state), target))


@router.get(CALLBACK_PATH)
async def finish_hub_login(request: Request, state: PageStateOf) -> Response:
    """Take the browser back from the Hub: a session for whoever is let in."""
    login, address = _hub_login(state), client_address(request)
    cookie, way_back = request.cookies.get(LOGIN_COOKIE), _callback_url(request, state)
    found = await login.finish(cookie, request.query_params, way_back, address)
    name = found.person.name
    if found.again is not None:
        return _send_to_hub(state, found.again)
    if not login.allowed.admits(found.person):
        log_of("page").warning(f"{name} logged in at the Hub from {address}, and is not let in")
        raise LoginFailedError(
            f"you came as {name}, who is not let in; whoever runs this page can add --allow user:{name}"
        )
    log_of("page").info(f"{name} logged in with an account of the Hub from {address}")
    answer = render_sent_on(found.target, state.sessions.log_in_as(name))
    answer.delete_cookie(LOGIN_COOKIE, path=CALLBACK_PATH)
    return answer


@router.post("/logout")
async def log_out(request: Request, state: PageStateOf, person: Person) -> Response:
    """Log out."""
    await read_form(request, person)
    state.sessions.log_out(person)
    return see_other("/login")


def _render_login(state: PageState, session: Session, target: str, fault: str = "", status: int = 200) -> Response:
    ways = {"hub": state.hub_login is not None, "password": state.sessions.has_password}
    return render_page("login", session, status, fault=fault, target=local_target(target), **ways)


def _send_to_hub(state: PageState, begun: BegunLogin) -> Response:
    """To the Hub, with a cookie for the way back: that begins on the Hub, so its cookie cannot be strict."""
    answer = RedirectResponse(begun.url, 303, headers=dict(HEADERS))
    answer.set_cookie(
        LOGIN_COOKIE, begun.cookie, max_age=LOGIN_SECONDS, httponly=True, samesite="lax",
        secure=state.sessions.is_secure, path=CALLBACK_PATH,
    )  # fmt: skip
    return answer


def _callback_url(request: Request, state: PageState) -> str:
    return (state.public_url or f"{request.url.scheme}://{request.headers['host']}") + CALLBACK_PATH


def _hub_login(state: PageState) -> HubLogin:
    if state.hub_login is None:
        raise HTTPException(404)
    return state.hub_login

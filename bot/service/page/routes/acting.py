"""The forms: decide on releases, run or pause a watchlist."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from bot.ledger.requests import RequestKind
from bot.service.page.controls import Controls
from bot.service.page.login.sessions import Session
from bot.service.page.routes.access import PageState, PageStateOf, Person, read_form
from bot.service.page.routes.responses import see_other

acting = APIRouter()
"""Routes of a page that can be used to decide something."""


@acting.post("/cycles/{cycle}/publish")
async def ask_to_publish_all(request: Request, state: PageStateOf, person: Person, cycle: str) -> Response:
    """Ask for all releases that wait to be published."""
    await read_form(request, person)
    await _ask(state, RequestKind.PUBLISH, cycle, None, _name(person))
    return see_other(f"/cycles/{quote(cycle)}")


@acting.post("/cycles/{cycle}/releases/{role}/publish")
async def ask_to_publish(request: Request, state: PageStateOf, person: Person, cycle: str, role: str) -> Response:
    """Ask for one release to be published; `edits` allows its edited card, `over_changes` to replace others'."""
    form = await read_form(request, person)
    ticks = {"edits": form.get("edits", "")[:64], "over_changes": form.get("over_changes") == "yes"}
    await _ask(state, RequestKind.PUBLISH, cycle, role, _name(person), **ticks)
    return see_other(f"/cycles/{quote(cycle)}")


@acting.post("/cycles/{cycle}/releases/{role}/reject")
async def ask_to_reject(request: Request, state: PageStateOf, person: Person, cycle: str, role: str) -> Response:
    """Ask for one release to be rejected, with a note."""
    note = " ".join((await read_form(request, person)).get("note", "").split())
    if not note:
        raise HTTPException(400, "A rejection needs a note: say in a line why.")
    await _ask(state, RequestKind.REJECT, cycle, role, _name(person), note=note[:500])
    return see_other(f"/cycles/{quote(cycle)}")


@acting.post("/requests/{number}/withdraw")
async def withdraw(request: Request, state: PageStateOf, person: Person, number: int) -> Response:
    """Withdraw a request before it is carried out, whoever made it."""
    await read_form(request, person)
    cycle = await asyncio.to_thread(_controls(state).withdraw, number, _name(person))
    return see_other(f"/cycles/{quote(cycle)}")


@acting.post("/watchlists/{name}/{order}")
async def order_schedule(request: Request, state: PageStateOf, person: Person, name: str, order: str) -> Response:
    """Run a watchlist now, withdraw that, or pause or resume its schedule."""
    await read_form(request, person)
    await asyncio.to_thread(_controls(state).tell_schedule, name, order, _name(person))
    return see_other("/")


async def _ask(state: PageState, kind: RequestKind, cycle: str, role: str | None, who: str, **details: Any) -> None:
    """`Controls.ask` in a thread: the ledger may be busy, and the other pages must not wait for it."""
    await asyncio.to_thread(_controls(state).ask, kind, cycle, role, who, **details)


def _controls(state: PageState) -> Controls:
    assert state.controls is not None  # these routes are there only where it is
    return state.controls


def _name(session: Session) -> str:
    assert session.who is not None  # `Person` is somebody
    return session.who

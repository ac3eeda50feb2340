"""The pages that show something, and the stream that keeps them up to date."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response

from bot.release.card.picture_facts import GRID_FILE
from bot.service.page.events import EventStream, stream_progress
from bot.service.page.routes.access import PageStateOf, Person, client_address, request_session
from bot.service.page.routes.responses import HEADERS, render_page
from bot.service.page.views import NotFoundError
from localhub.pages.markup import render_card
from templates import FOLDER

router = APIRouter()

_ASSETS = {"hub_style.css": "text/css", "page.css": "text/css", "page.js": "text/javascript"}
_PICTURE_TYPES = {"png": "image/png", "svg": "image/svg+xml"}


@router.get("/")
def get_overview(state: PageStateOf, person: Person) -> HTMLResponse:
    """Watchlists, the running cycle, past cycles."""
    schedule = state.controls.schedule if state.controls else None
    snapshot = schedule.snapshot() if schedule else state.desk.schedule()
    view = state.desk.overview(snapshot)
    can_review, can_order = state.controls is not None, schedule is not None
    return render_page("overview", person, view=view, schedule=snapshot, can_review=can_review, can_order=can_order)


@router.get("/running/front")
def get_growing_front(state: PageStateOf, person: Person) -> HTMLResponse:
    """The part of the first page with the running cycle's front, for a page that is open."""
    return render_page("growing_front", person, front=state.desk.growing_front())


@router.get("/cycles/{cycle}")
def get_cycle_page(
    state: PageStateOf,
    person: Person,
    cycle: str,
    x: str | None = None,
    y: str | None = None,
    member: str | None = None,
) -> HTMLResponse:
    """One cycle. x, y: the axes of the front's picture. member: the digest of the front member that is shown."""
    view = state.desk.cycle(cycle, x, y, member)
    return render_page("cycle", person, view=view, grid=GRID_FILE, can_review=state.controls is not None)


@router.get("/cycles/{cycle}/front/{member}")
def get_member_card(state: PageStateOf, person: Person, cycle: str, member: str) -> HTMLResponse:
    """The card of a front member that was not released, as it is exported. member: its digest."""
    view = state.desk.member_card(cycle, member)
    here = f"/cycles/{cycle}/front/{member}/"
    return render_page("member", person, view=view, card=render_card(view.card, here, here))


@router.get("/cycles/{cycle}/front/{member}/recipe.json")
def get_recipe(state: PageStateOf, _: Person, cycle: str, member: str) -> Response:
    """A front member's recipe, as the ledger has it."""
    return _download(state.desk.member_recipe(cycle, member), "application/json", f"{cycle}-{member[:12]}.json")


@router.get("/cycles/{cycle}/front/{member}/mergekit.yml")
def get_mergekit_recipe(state: PageStateOf, _: Person, cycle: str, member: str) -> Response:
    """A front member's recipe for mergekit."""
    return _download(state.desk.member_mergekit(cycle, member), "application/yaml", f"{cycle}-{member[:12]}.yml")


@router.get("/cycles/{cycle}/releases/{role}")
def get_release_page(state: PageStateOf, person: Person, cycle: str, role: str) -> HTMLResponse:
    """A release's card, as the Hub shows it."""
    view = state.desk.release(cycle, role)
    pictures = f"/cycles/{cycle}/releases/{role}/pictures/"
    card = render_card(view.card, pictures, f"{view.url}/blob/main/")
    return render_page("release", person, view=view, card=card, can_review=state.controls is not None)


@router.get("/cycles/{cycle}/releases/{role}/pictures/{name:path}")
def get_picture(state: PageStateOf, _: Person, cycle: str, role: str, name: str) -> Response:
    """A picture of a card. name: its path in the release."""
    content = state.desk.picture(cycle, role, name)
    return Response(content, media_type=_PICTURE_TYPES[name.rpartition(".")[2]], headers=dict(HEADERS))


@router.get("/events")
async def follow_progress(request: Request, state: PageStateOf, person: Person) -> Response:
    """What the running cycle does, as server-sent events."""
    # Whoever has not logged in could have any number of sessions.
    client = person.id if person.is_login else client_address(request)
    if (full := state.streams.take(client)) is not None:
        return PlainTextResponse(full, 503, headers={**HEADERS, "Retry-After": "60"})

    def goes_on() -> bool:  # the session may end, and the server
        return request_session(request).who is not None and not state.streams.are_ending

    return EventStream(stream_progress(state.desk.running, goes_on), state.streams, client, HEADERS)


@router.get("/assets/{name}")
def get_asset(name: str) -> Response:
    """A stylesheet or a script."""
    if name not in _ASSETS:
        raise NotFoundError(f"there is no {name[:60]}")
    return Response((FOLDER / name).read_bytes(), media_type=_ASSETS[name], headers=dict(HEADERS))


def _download(text: str, kind: str, name: str) -> Response:
    """A text that a browser keeps as a file; the name is a cycle's id and a digest, so plain."""
    kept = {**HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type=kind, headers=kept)

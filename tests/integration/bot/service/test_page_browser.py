"""The page in a real browser: accessible, narrow, without JavaScript, and live."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from bot.home import Home
from bot.hub.client import Hub
from bot.lock import hold_home
from bot.service.listener import open_listener
from bot.service.live import live_narrator
from bot.service.page.app import create_page_app
from bot.service.page.controls import Controls
from bot.service.page.login.sessions import Sessions
from bot.service.page.server import HOST, page_in_thread
from bot.service.page.views import Desk
from fixtures.chromium import chromium, needs_chromium
from fixtures.cycles import Listener
from fixtures.past_cycles import FRONT, write_drawn_cycle, write_past_cycles

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = needs_chromium
__all__ = ["chromium"]

PATHS = ("/", f"/cycles/small-1?member={FRONT[1][0]}", "/cycles/small-1/releases/balanced", "/nothing")


DRAWN = ("/cycles/drawn-1", "/cycles/drawn-1/releases/balanced")
"""The pages of a cycle over image generators."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = write_past_cycles(tmp_path_factory.mktemp("home"))
    write_drawn_cycle(home)
    return home


@pytest.fixture(scope="module")
def address(home: Home) -> Iterator[str]:
    app = create_page_app(Desk(home, Hub("http://127.0.0.1:9", None)), Sessions("anna"), Controls(home, None))
    with open_listener(HOST, 0) as listener, page_in_thread(app, listener):
        yield f"http://{HOST}:{listener.getsockname()[1]}"


def visited(page: Page, address: str, path: str) -> Sequence[str]:
    """Go to a page; returns what the browser complains of."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address + path)
    return complaints


def test_pictures_of_a_release_are_shown_and_fit_a_telephone_and_a_wide_screen(chromium: Browser, address: str) -> None:
    for width in (360, 1600):
        with chromium.new_context(viewport={"width": width, "height": 720}) as context:
            page = context.new_page()
            for path, pictures in zip(DRAWN, (1, 3), strict=True):
                assert visited(page, address, path) == []
                images = page.locator("main img")
                expect(images).to_have_count(pictures)
                for image in images.all():
                    image.scroll_into_view_if_needed()
                    expect(image).to_have_js_property("complete", True)
                    shown = image.evaluate(
                        "it => [it.naturalWidth > 0, it.getBoundingClientRect().right, it.alt.length > 9]"
                    )
                    assert shown[0] and shown[1] <= width and shown[2]
                assert page.evaluate("document.documentElement.scrollWidth") == width
                found = Axe().run(page)
                assert [(path, rule["id"], rule["nodes"][0]["html"]) for rule in found.response["violations"]] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_object_to(chromium: Browser, address: str, scheme: str) -> None:
    with chromium.new_context(color_scheme=scheme) as context:
        page = context.new_page()
        for path in PATHS:
            page.goto(address + path)
            found = Axe().run(page)
            assert [(path, rule["id"], rule["nodes"][0]["html"]) for rule in found.response["violations"]] == []
            # axe-core passes over links of one digit, as a small front has them
            lines = page.locator("table a").evaluate_all(
                "links => links.map(link => getComputedStyle(link).textDecorationLine)"
            )
            assert set(lines) <= {"underline"}


def test_nothing_is_blocked_and_nothing_is_wider_than_a_telephone(chromium: Browser, address: str) -> None:
    with chromium.new_context(viewport={"width": 360, "height": 720}) as context:
        page = context.new_page()
        for path in PATHS[:3]:
            assert visited(page, address, path) == []
            assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_the_front_can_be_explored_without_javascript(chromium: Browser, address: str) -> None:
    with chromium.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(address)
        page.get_by_role("link", name="small-1").first.click()
        page.get_by_label("across").select_option("cross")
        page.get_by_role("button", name="Show").click()
        page.get_by_role("link", name="2", exact=True).click()
        expect(page.get_by_role("heading", name="Member 2")).to_be_visible()
        expect(page.get_by_text("shoal export small-1 2 OUT")).to_be_visible()
        expect(page.get_by_label("across")).to_have_value("cross")


def test_an_open_page_follows_a_cycle_from_its_begin_to_its_end(chromium: Browser, address: str, home: Home) -> None:
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(address)
        expect(page.get_by_role("heading", name="No cycle is running")).to_be_visible()
        with hold_home(home), live_narrator(Listener(), home, "small") as narrator:
            narrator.say("2 accepted")
            expect(page.get_by_role("heading", name="Running: small")).to_be_visible()
            with narrator.bar("searching", 40) as advance:
                expect(page.get_by_text("searching")).to_be_visible()
                page.evaluate("window.sameDocument = true")
                narrator.say("generation 1")
                advance(10, "front of 3")
                narrator.say("generation 2")
                expect(page.get_by_role("progressbar")).to_have_js_property("value", 10)
                expect(page.get_by_role("listitem").first).to_contain_text("generation 2")
                assert page.evaluate("window.sameDocument")  # it was brought up to date, not loaded again
        expect(page.get_by_role("heading", name="No cycle is running")).to_be_visible()

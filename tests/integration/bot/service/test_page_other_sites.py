"""What other sites can do to somebody who has logged in, in a real browser; the Hub and a mailbox are such sites."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from bot.home import Home
from fixtures.chromium import chromium, needs_chromium
from fixtures.hub_logins import page_with_login
from fixtures.past_cycles import write_past_cycles
from localhub import running

pytestmark = needs_chromium
__all__ = ["chromium"]
RELEASE = "/cycles/small-1/releases/balanced"

SITE = """<!doctype html><title>mailbox</title>
<a href="{page}{release}">the release</a>
<iframe src="{page}/" title="framed"></iframe>
<form method="post" action="{page}/logout"><button>Win a prize</button></form>
<script>
window.seen = {{}};
const stream = new EventSource("{page}/events");
stream.onopen = () => window.seen.stream = "open";
stream.onerror = () => window.seen.stream = "closed";
for (const [name, kind, path] of [["picture", "img", "{release}/pictures/scores.png"], ["script", "script", "/"]]) {{
  const part = document.createElement(kind);
  part.onload = () => window.seen[name] = "loaded";
  part.onerror = () => window.seen[name] = "refused";
  part.src = "{page}" + path;
  document.body.append(part);
}}
</script>"""


@contextmanager
def other_site(page: str) -> Iterator[str]:
    """A site that knows the page's address and tries what it can."""
    content = SITE.format(page=page, release=RELEASE).encode()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/"  # another site than 127.0.0.1
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return write_past_cycles(tmp_path / "home")


def test_links_of_other_sites_work_and_nothing_else_does(chromium: Browser, tmp_path: Path, home: Home) -> None:
    with (
        running(tmp_path / "hub") as server,
        page_with_login(home, server, "org:reef:write") as opened,
        other_site(opened.address) as mailbox,
        chromium.new_context() as context,
    ):
        server.store.add_user("anna")
        server.store.add_org("reef", {"anna": "admin"})
        page = context.new_page()

        page.goto(mailbox)
        page.get_by_role("link", name="the release").click()
        page.get_by_role("link", name="Log in with your Hugging Face account").click()
        page.get_by_role("button", name="Log in as anna").click()
        expect(page.get_by_role("checkbox")).to_be_checked()  # asked again, for the role that decides
        page.get_by_role("button", name="Log in as anna").click()
        page.wait_for_url(opened.address + RELEASE)
        expect(page.get_by_role("banner")).to_contain_text("anna")
        [cookie] = page.context.cookies()
        assert (cookie["name"], cookie["sameSite"], cookie["httpOnly"]) == ("shoal", "Strict", True)

        page.goto(mailbox)
        page.wait_for_function("Object.keys(window.seen).length === 3")
        assert page.evaluate("window.seen") == {"stream": "closed", "picture": "refused", "script": "refused"}
        expect(page.frame_locator("iframe").get_by_role("link", name="Open it")).to_be_visible()
        page.get_by_role("link", name="the release").click()
        page.wait_for_url(opened.address + RELEASE)
        expect(page.get_by_role("banner")).to_contain_text("anna")

        page.goto(mailbox)
        page.get_by_role("button", name="Win a prize").click()
        expect(page.get_by_text("The request was sent from another site.")).to_be_visible()
        page.goto(opened.address)
        expect(page.get_by_role("banner")).to_contain_text("anna")

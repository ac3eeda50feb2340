"""The whole way in a real browser: a genuine `shoal serve` on a local Hub, from "Run now" to a model on the Hub."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from huggingface_hub import HfApi, ModelCard
from playwright.sync_api import Browser, Page, expect

from bot.demo import TOKEN
from bot.home import Home
from bot.ledger.decisions import cycle_decisions
from bot.ledger.ledger import Ledger
from fixtures.chromium import chromium, needs_chromium
from fixtures.cycles import NAMESPACE, small_watchlist
from fixtures.shoal_process import start, zoo_hub

pytestmark = needs_chromium
__all__ = ["chromium"]

CYCLE_MS = 180_000
"""Milliseconds in which a cycle ends on a busy machine."""


def violations(page: Page) -> list[tuple[str, str]]:
    return [(rule["id"], rule["nodes"][0]["html"]) for rule in Axe().run(page).response["violations"]]


def follow_cycle(page: Page) -> None:
    """Run the watchlist, and watch it from its begin to its end without loading the page anew.

    The front is drawn by events alone: how many of the quick counts before it a browser shows depends on the machine.
    """
    page.get_by_role("button", name="Run now: small").click()
    expect(page.get_by_role("heading", name="Running: small")).to_be_visible(timeout=CYCLE_MS)
    expect(page.get_by_role("img", name="front members")).to_be_visible(timeout=CYCLE_MS)
    assert violations(page) == []
    expect(page.get_by_role("heading", name="No cycle is running")).to_be_visible(timeout=CYCLE_MS)


def test_from_run_now_to_the_hub_with_one_release_rejected(chromium: Browser, tmp_path: Path) -> None:
    home, page = Home(tmp_path / "home"), chromium.new_page()
    # A watchlist that runs only when it is asked to, and leaves two releases for review.
    path = tmp_path / "small.yml"
    watchlist = small_watchlist(schedule={"cron": "0 0 1 1 *"}, publish={"mode": "review"})
    path.write_text(json.dumps(watchlist.model_dump(mode="json", exclude_unset=True)), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with zoo_hub(tmp_path / "hub") as server:
        process = start(
            "serve", path, "--home", home.folder, "--endpoint", server.endpoint, "--page", port, token=TOKEN
        )
        assert process.stderr is not None and "INFO small: next at" in process.stderr.readline()
        page.goto(f"http://127.0.0.1:{port}")

        follow_cycle(page)

        # Review: one of the two is rejected with a note, the other published.
        page.get_by_role("link", name="small-1").first.click()
        expect(page.get_by_text("2 releases written: balanced, best-math")).to_be_visible()
        page.get_by_label("Why not").nth(1).fill("answers too briefly")
        page.get_by_role("button", name="Reject best-math").click()
        page.get_by_role("button", name="Publish balanced").click()
        page.wait_for_function(
            # Not `fetch`: its promise would count as true before it is kept.
            "() => { const asked = new XMLHttpRequest(); asked.open('GET', location, false); asked.send(); "
            "return ['published by', 'rejected by'].every(words => asked.responseText.includes(words)) }",
            polling=500,
            timeout=CYCLE_MS,
        )
        page.reload()
        expect(page.get_by_text(": answers too briefly")).to_be_visible()
        assert violations(page) == []

        # The genuine client finds the one, whole, and not the other.
        api = HfApi(server.endpoint, token=TOKEN)
        ledger = Ledger(home.ledger)
        published, rejected = ledger.releases("small-1")
        assert published.repo == f"{NAMESPACE}/small-balanced"
        files = {one.rfilename for one in api.model_info(published.repo, revision=published.commit).siblings or ()}
        assert set(published.files) <= files
        card = ModelCard.load(api.hf_hub_download(published.repo, "README.md", local_dir=tmp_path / "card"))
        assert "shoal-merge" in card.data.tags and card.data.eval_results
        assert not api.repo_exists(rejected.repo)
        assert {role: one.verdict for role, one in cycle_decisions(ledger, "small-1").items()} == {
            "balanced": "published",
            "best-math": "rejected",
        }
        ledger.close()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)

"""The page, through its genuine application: what it shows, what it refuses, and its probes."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import httpx
import pytest
from starlette.testclient import TestClient

from bot.home import Home
from bot.hub.client import Hub
from bot.ledger.ledger import Ledger
from bot.ledger.requests import RequestKind, make_requests
from bot.lock import hold_home, hold_schedule
from bot.service.facts.bot_facts import RunningFacts
from bot.service.facts.service_file import ServiceFile
from bot.service.listener import open_listener
from bot.service.live import LiveProgress, live_narrator
from bot.service.page.app import create_page_app
from bot.service.page.events import EventStream, Streams, stream_progress
from bot.service.page.login.sessions import Sessions
from bot.service.page.server import HOST, page_in_thread
from bot.service.page.views import Desk
from bot.service.retries import PlannedRetry
from bot.watchlist.watchlist import Watchlist
from fixtures.cycles import Listener, small_watchlist
from fixtures.past_cycles import FRONT, GAP, PIXEL, write_past_cycles
from fixtures.shoal_here import Run
from fixtures.shoal_process import write_watchlist

HUB = Hub("http://127.0.0.1:9", None)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return write_past_cycles(tmp_path_factory.mktemp("home"))


def browser_of(home: Home, *watchlists: Path, scheduler: bool | None = None) -> TestClient:
    runs = None if scheduler is None else lambda: scheduler
    app = create_page_app(Desk(home, HUB, watchlists), Sessions("anna"), scheduler_runs=runs)
    return TestClient(app, base_url="http://127.0.0.1:8400")


@pytest.fixture(scope="module")
def browser(home: Home) -> TestClient:
    return browser_of(home)


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_the_first_page_shows_watchlists_what_waits_and_past_cycles(home: Home, tmp_path: Path) -> None:
    good = write_watchlist(tmp_path / "fish.yml", name="fish", schedule={"cron": "0 3 1 1 *", "timezone": "Asia/Tokyo"})
    bad = tmp_path / "bad.yml"
    bad.write_text("name: bad\nskils: []\n", encoding="utf-8")
    shown = words(browser_of(home, good, bad, tmp_path / "gone.yml").get("/").text)
    assert "No cycle is running" in shown
    review = f"shoal review --home {home.folder} --endpoint {HUB.endpoint}"
    assert f"small-1 : balanced Decide in a terminal: {review}" in shown
    line = r"fish It has not run yet. schedule: 0 3 1 1 \* Asia/Tokyo next run 20\d\d-12-31 18:00"
    assert re.search(line, shown)
    assert "skils" in shown and "gone.yml" in shown
    assert "other-1 failed" in shown and "the Hub cannot be reached (the next run resumes it)" in shown


def test_an_empty_home_is_shown_and_nothing_is_written_into_it(tmp_path: Path) -> None:
    shown = browser_of(Home(tmp_path / "home"))
    assert "No watchlist has run in this home" in shown.get("/").text
    assert shown.get("/cycles/small-1").status_code == 404
    assert shown.get("/healthz").json()["well"] is True
    assert not (tmp_path / "home").exists()


def test_a_running_cycle_is_shown_as_it_is_now(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with hold_home(home), live_narrator(Listener(), home, "fish") as narrator:
        narrator.say("2 accepted")
        with narrator.bar("searching", 40):
            shown = words(browser_of(home).get("/").text)
    assert "Running: fish its page searching 0/40" in shown
    assert "2 accepted" in shown


def test_status_tells_the_same_as_the_page(tmp_path: Path, shoal: Run) -> None:
    home, fish = write_past_cycles(tmp_path / "home"), write_watchlist(tmp_path / "fish.yml", name="fish")
    ledger, moment = Ledger(home.ledger), datetime(2026, 12, 24, 18, tzinfo=UTC)
    cycle = ledger.begin("fish", "d1", moment).id
    ledger.keep(cycle, "watchlist", small_watchlist(name="fish"), Watchlist)
    ledger.record_front(cycle, 1, FRONT)
    make_requests(ledger, RequestKind.PUBLISH, "small-1", ["balanced"], note="", who="berta")
    with closing(sqlite3.connect(home.schedule)) as schedule, schedule:
        schedule.execute("CREATE TABLE apscheduler_jobs (id, next_run_time)")
        rows = [("fish", moment.timestamp()), ("small", None)]
        schedule.executemany("INSERT INTO apscheduler_jobs VALUES (?, ?)", rows)
    with hold_schedule(home), hold_home(home), closing(ServiceFile(home)) as file:
        retry = PlannedRetry(moment, "the Hub is down")
        files = {"fish": str(fish), "small": str(tmp_path / "small.yml"), "bad": str(tmp_path / "bad.yml")}
        write_watchlist(tmp_path / "small.yml", name="small")
        file.update(files=files, due=("small",), retries={"fish": retry}, held="no room at all")
        file.count_lost_notification()
        with live_narrator(Listener(), home, "fish") as narrator, narrator.bar("searching", 960) as advance:
            with mock.patch("bot.service.live.WRITE_SECONDS", 0.0):
                advance(0, "generation 3")
            page = words(browser_of(home).get("/").text)
            lines = shoal("status", "--home", home.folder)[1].splitlines()
            told = json.loads(shoal("status", "--home", home.folder, "--json")[1])
    since = datetime.fromisoformat(told["service"]["started"])
    assert lines[:2] == [
        "fish-1 runs: searching: 0/960, generation 3; 3 on the front, best math 0.900, cross 0.900",
        f"shoal serve: runs since {since:%Y-%m-%d %H:%M} UTC, with 3 watchlists",
    ]
    assert lines[2:4] == ["shoal serve: no room at all", "shoal serve: 1 notification did not arrive"]
    assert lines[4] == "fish: A cycle is running. Next at 2026-12-24 18:00 UTC."
    assert lines[5] == "small: It is due and waits until the cycle of fish ends."
    assert lines[6].startswith("bad: Its file cannot be used: ")
    assert lines[7] == "small-1: releases wait for review: shoal review small-1"
    assert lines[8] == "small-1, balanced: berta asked to publish it; done when no cycle runs"
    assert "fish-1 2026-12-24 18:00 running searching: 0/960, generation 3" in " ".join(" ".join(lines).split())
    assert "Running: fish its page searching 0/960 generation 3" in page
    running = told["running"]
    assert (running["cycle"], running["candidates"], running["budget"], running["front"]) == ("fish-1", 0, 40, 3)
    assert {one["name"]: (one["paused"], one["due"]) for one in told["watchlists"]}["small"] == (True, True)
    for one in told["watchlists"]:
        assert one["standing"] and " ".join(one["standing"].split()) in page
    assert "no room at all" in page and "Run now" not in page  # which only the page of the service can do
    assert told["requests"][0]["who"] == "berta" and told["waiting"] == ["small-1"]


def test_a_cycle_shows_its_front_its_reasons_and_its_releases(browser: TestClient) -> None:
    html = browser.get("/cycles/small-1").text
    shown = words(html)
    assert html.count('class="candidate"') == 5
    assert html.count('class="member') == 3 and html.count('class="member put-in"') == 1
    assert html.count('class="left-out"') == 1 and "1 of 3 members are put in by it" in shown
    assert "he front covers 0.6000 on the search split" in shown and f"{GAP.gap:+.4f}, 95 % from" in shown
    assert "passed: beats all at cross" in shown and "refused: the base is as good" in shown
    assert "balanced release 0.700 0.600–0.800" in shown
    assert "a/b taken of the family" in shown
    assert "not on the Hub" in shown


def test_a_front_member_can_be_picked(browser: TestClient) -> None:
    first = browser.get("/cycles/small-1").text
    link = re.search(rf'href="([^"]*member={FRONT[1][0]}[^"]*)"', first)
    assert link is not None
    shown = browser.get(link[1].replace("&amp;", "&").partition("#")[0]).text
    assert "shoal export small-1 2 OUT" in words(shown)
    assert '"method": "linear"' in shown.replace("&#34;", '"')
    assert shown.count('class="member chosen"') == 1


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/cycles/none-1", "none-1"),
        ("/cycles/small-1?x=tales", "has no skill tales"),
        ("/cycles/small-1?member=ffff", "has no member ffff"),
        ("/cycles/small-1/releases/best", "has no release best"),
        ("/cycles/small-1/releases/balanced/pictures/model.safetensors", "has no picture"),
        ("/cycles/small-1/releases/balanced/pictures/..%2F..%2Fledger.sqlite", "has no picture"),
        ("/assets/model_card.md.j2", "there is no model_card"),
        ("/nothing", "There is nothing here."),
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(browser: TestClient, path: str, reason: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 404
    assert reason in answer.text


def test_a_card_is_shown_as_the_hub_shows_it_with_its_pictures(browser: TestClient) -> None:
    html = browser.get("/cycles/small-1/releases/balanced").text
    picture = re.search(r'<img src="([^"]+)"', html)
    assert picture is not None
    answer = browser.get(picture[1])
    assert (answer.content, answer.headers["content-type"]) == (PIXEL, "image/png")
    assert f'href="{HUB.endpoint}/reef/small-balanced/blob/main/mergekit_config.yml"' in html
    assert "as it would be published to reef/small-balanced" in words(html)
    assert "alert(1)" not in html.partition("<details>")[0].replace("scores.png", "")


def test_no_text_of_a_stranger_becomes_markup_and_every_answer_is_locked_down(browser: TestClient) -> None:
    for path in ("/", "/cycles/small-1", "/cycles/small-1/releases/balanced", "/cycles/%3Cscript%3E"):
        answer = browser.get(path)
        assert "<script>" not in answer.text
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "script-src 'self';" in policy and "style-src 'self';" in policy


@pytest.mark.parametrize("host", ["evil.example", "shoal.evil.example:8400", "169.254.1.1"])
def test_another_host_name_is_refused(browser: TestClient, host: str) -> None:
    assert browser.get("/", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(browser: TestClient, method: str) -> None:
    for path in ("/", "/cycles/small-1", "/cycles/small-1/releases/balanced"):
        assert browser.request(method, path).status_code == 405


def test_the_probes_say_what_is_wrong(home: Home, tmp_path: Path) -> None:
    well = browser_of(home, scheduler=True).get("/healthz")
    assert (well.status_code, well.json()["faults"], well.json()["scheduler"]) == (200, [], True)
    stopped = browser_of(home, scheduler=False).get("/healthz")
    assert (stopped.status_code, stopped.json()["faults"]) == (503, ["the schedule has stopped; restart the service"])
    broken = Home(tmp_path)
    broken.ledger.write_text("not a ledger", encoding="utf-8")
    answer = browser_of(broken).get("/healthz")
    assert answer.status_code == 503
    assert "not a ledger" in answer.json()["faults"][0]
    assert browser_of(broken).get("/metrics").text.count("shoal_well 0\n") == 1


def test_a_ledger_that_only_others_could_write_is_a_fault_of_those_that_write(home: Home) -> None:
    with closing(sqlite3.connect(home.ledger, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with mock.patch("bot.service.page.health.LOCK_SECONDS", 0.01):
            answer = browser_of(home, scheduler=True).get("/healthz")
            assert browser_of(home).get("/healthz").status_code == 200
    assert answer.status_code == 503
    assert answer.json()["faults"][0].startswith(f"{home.ledger}: the ledger cannot be written (database is locked)")


def test_the_metrics_are_in_prometheus_text_format(home: Home) -> None:
    with hold_schedule(home), hold_home(home), live_narrator(Listener(), home, "small") as narrator:
        shown = ServiceFile(home)
        shown.count_lost_notification()
        with narrator.bar('a "step"\\', 40):
            text = browser_of(home, scheduler=True).get("/metrics").text
        shown.close()
    label = r'\{[a-z_]+="(?:[^"\\\n]|\\\\|\\"|\\n)*"\}'
    sample = re.compile(rf"([a-z_]+)({label})? (-?[0-9.]+(?:e[+-][0-9]+)?)")
    values, families = dict[str, float](), list[str]()
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# TYPE "):
            assert line.split(" ")[2] == families[-1] and line.endswith(" gauge")
        elif line.startswith("# HELP "):
            families.append(line.split(" ")[2])
        else:
            found = sample.fullmatch(line)
            assert found is not None and found[1] == families[-1], line
            values[found[1] + (found[2] or "")] = float(found[3])
    assert len(families) == len(set(families))
    wanted = {
        "shoal_well": 1, "shoal_cycle_running": 1, r'shoal_step{step="a \"step\"\\"}': 1,
        "shoal_notifications_failed": 1, "shoal_scheduler_running": 1, 'shoal_cycles{state="failed"}': 1,
        'shoal_cycles{state="waiting for review"}': 1,
    }  # fmt: skip
    assert {name: values[name] for name in wanted} == wanted
    assert values["shoal_disk_free_bytes"] > 0
    ages = [name for name in values if name.startswith("shoal_last_success")]
    assert ages == ['shoal_last_success_age_seconds{watchlist="small"}']


def test_a_stream_sends_snapshots_of_what_changes() -> None:
    progress = LiveProgress("fish", "searching", 1, 10, False, "", None, (), "2026-11-26T12:00:00+00:00")
    first = RunningFacts(**vars(progress), cycle="fish-1", generation=3)
    answers = iter([None, first, first, replace(first, done=2)])

    async def follow() -> list[str]:
        events: list[str] = []
        stream = stream_progress(lambda: next(answers), lambda: True, poll=0)
        async for event in stream:
            events.append(event)
            if len(events) == 4:
                await stream.aclose()  # type: ignore[attr-defined]
        return events

    retry, *data = asyncio.run(follow())
    assert retry == "retry: 5000\n\n"
    snapshots = [json.loads(event.removeprefix("data: ")) for event in data]
    assert [snapshot and snapshot["done"] for snapshot in snapshots] == [None, 1, 2]
    assert [snapshot and snapshot["count"] for snapshot in snapshots] == [None, "1/10", "2/10"]


def test_a_stream_whose_reader_left_before_it_began_gives_its_place_back() -> None:
    streams = Streams(1)
    assert streams.take("anna") is None

    async def gone() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def ignore(_: object) -> None: ...

    answer = EventStream(stream_progress(lambda: None, lambda: True), streams, "anna", {})
    asyncio.run(answer({"type": "http"}, gone, ignore))
    assert streams.take("berta") is None


def test_a_page_that_is_open_does_not_make_errors_of_a_stop(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    app = create_page_app(Desk(home, HUB), Sessions("anna"))
    with open_listener(HOST, 0) as listener, httpx.Client() as client:
        with page_in_thread(app, listener):
            events = client.build_request("GET", f"http://{HOST}:{listener.getsockname()[1]}/events")
            lines = client.send(events, stream=True).iter_lines()
            assert next(lines) == "retry: 5000"
        assert [line for line in lines if line] == ["data: null"]  # a whole answer, not one that was cut off
    assert capsys.readouterr().err == ""

"""What can be done on the page: decisions that are carried out once, forms that cannot be forged, the login."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from httpx import Response
from starlette.testclient import TestClient

from bot.cli.service.page import page_of
from bot.cycle.past.review import reject_releases
from bot.demo import BOT_USER, TOKEN
from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.ledger.decisions import cycle_decisions
from bot.ledger.ledger import Ledger, State
from bot.ledger.pull_requests import PullRequest, record_pull_request
from bot.ledger.requests import RequestState, begin_request, newest_requests
from bot.ledger.run_requests import settle_run_requests
from bot.ledger.tables import RunRequestRow
from bot.lock import hold_home
from bot.service.page.app import create_page_app
from bot.service.page.controls import Controls, ScheduleControls, schedule_controls
from bot.service.page.login.attempts import TRIES
from bot.service.page.login.sessions import Sessions, hash_password
from bot.service.page.open import PageBuilder, PageOptions
from bot.service.page.views import Desk
from bot.service.retries import Retries
from bot.service.review_worker import ReviewWorker
from bot.service.scheduler import CronJobs, DueWatchlists, add_waiting_runs
from bot.service.state.keeper import StateKeeper
from bot.service.state.repo import StateRepo
from bot.service.webhooks.wakes import Wakes
from bot.watchlist.load import load_watchlist
from bot.watchlist.watchlist import Watchlist
from fixtures.cycles import NAMESPACE, Listener, small_watchlist
from fixtures.past_cycles import write_past_cycles
from fixtures.shoal_process import write_watchlist
from localhub import Running, running

NOWHERE = Hub("http://127.0.0.1:9", None)
BASE = "http://127.0.0.1:8400"
RELEASE = "/cycles/small-1/releases/balanced"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return write_past_cycles(tmp_path / "home", repo=f"{NAMESPACE}/small-balanced")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path / "hub") as server:
        server.store.add_user(BOT_USER, TOKEN)
        server.store.add_org(NAMESPACE, {BOT_USER: "write"})
        yield server


def browser_of(home: Home, schedule: ScheduleControls | None = None, password: str | None = None) -> TestClient:
    sessions = Sessions("anna", hash_password(password) if password else None)
    app = create_page_app(Desk(home, NOWHERE), sessions, Controls(home, schedule))
    return TestClient(app, base_url=BASE, follow_redirects=False)


def form_token(browser: TestClient, page: str = "/cycles/small-1") -> str:
    """The token in the forms of a page."""
    token = re.search(r'name="token" value="([0-9a-f]+)"', browser.get(page).text)
    assert token is not None
    return token[1]


def tick(browser: TestClient, name: str, page: str = RELEASE) -> str:
    """The value of a box to tick on a page."""
    box = re.search(rf'type="checkbox" name="{name}" value="([0-9a-z]+)"', browser.get(page).text)
    assert box is not None
    return box[1]


def send(browser: TestClient, path: str, page: str = "/cycles/small-1", **fields: str) -> Response:
    """Send a form of a page."""
    return browser.post(path, data={"token": form_token(browser, page), **fields})


def decisions(home: Home) -> list[str]:
    ledger = Ledger(home.ledger)
    found = [f"{one.role} {one.verdict} {one.who} {one.note}" for one in cycle_decisions(ledger, "small-1").values()]
    ledger.close()
    return found


def state_of(home: Home) -> State:
    ledger = Ledger(home.ledger)
    state = ledger.cycle("small-1").state
    ledger.close()
    return state


def work_off(home: Home, hub: Hub = NOWHERE) -> None:
    worker = ReviewWorker(home, lambda _: hub, Listener())
    while worker.work_off():
        pass


def test_a_rejection_waits_while_a_cycle_runs_and_is_carried_out_once(home: Home) -> None:
    browser = browser_of(home)
    token = form_token(browser)
    answer = send(browser, f"{RELEASE}/reject", note="in the wrong\nlanguage")
    assert (answer.status_code, answer.headers["location"]) == (303, "/cycles/small-1")
    with hold_home(home):
        work_off(home)
        assert decisions(home) == []
        page = browser.get("/cycles/small-1").text
        assert "anna asked to reject it" in page
        assert f'action="{RELEASE}/publish"' not in page  # one decision at a time
        browser.post(f"{RELEASE}/publish", data={"token": token})  # a form of the page that was loaded before
    work_off(home)
    work_off(home)
    assert decisions(home) == ["balanced rejected anna in the wrong language"]
    assert state_of(home) is State.REJECTED
    assert "asked to" not in browser.get("/cycles/small-1").text


def test_a_request_can_be_withdrawn_by_whoever_decides_until_it_is_carried_out(home: Home, server: Running) -> None:
    hub, browser = Hub(server.endpoint, TOKEN), browser_of(home)
    send(browser, f"{RELEASE}/publish")
    page, token = browser.get(RELEASE).text, {"token": form_token(browser)}
    assert "Withdraw this: publish balanced" in page and 'action="/requests/1/withdraw"' in page
    assert f'action="{RELEASE}/publish"' not in page
    answer = send(browser, "/requests/1/withdraw")
    assert (answer.status_code, answer.headers["location"]) == (303, "/cycles/small-1")
    page = browser.get(RELEASE).text
    assert re.search(r"anna asked to publish it at .*; anna withdrew it on 20\d\d-", page)
    assert f'action="{RELEASE}/publish"' in page  # it can be decided on again
    work_off(home, hub)
    assert state_of(home) is State.REVIEW and decisions(home) == []
    assert send(browser, "/requests/1/withdraw").status_code == 303  # it is withdrawn, so nothing is wrong
    assert send(browser, "/requests/7/withdraw").status_code == 404
    send(browser, f"{RELEASE}/reject", note="after all")
    ledger = Ledger(home.ledger)
    begun = begin_request(ledger)
    assert begun is not None and begun.id == 2
    assert "being done now" in browser.get("/cycles/small-1").text
    assert browser.post("/requests/2/withdraw", data=token).status_code == 409
    assert begin_request(ledger) == begun  # as after a crash
    ledger.close()
    work_off(home, hub)
    answer = browser.post("/requests/2/withdraw", data=token)
    assert answer.status_code == 409 and "it is too late, the request is done" in answer.text
    assert state_of(home) is State.REJECTED


def test_an_approved_release_is_on_the_hub_once(home: Home, server: Running) -> None:
    hub = Hub(server.endpoint, TOKEN)
    assert send(browser_of(home), "/cycles/small-1/publish").status_code == 303
    work_off(home, hub)
    work_off(home, hub)
    repo = server.store.repo(f"{NAMESPACE}/small-balanced")
    assert "README.md" in {file.path for file in hub.api.list_repo_tree(repo.id)}
    assert state_of(home) is State.PUBLISHED
    assert decisions(home) == ["balanced published anna "]
    commits = [commit.title for commit in hub.api.list_repo_commits(repo.id)]
    assert commits.count("Release balanced of cycle small-1") == 1


KILLED_AT = {
    "before the upload": "bot.release.review.publish_release",
    "between the upload and its record": "bot.release.review.Ledger.record_release",
    "between the record and the decision": "bot.cycle.past.review._decide",
    "before the state of the cycle": "bot.cycle.past.review.update_cycle",
    "before the request is settled": "bot.service.review_worker.settle_request",
}


def work_off_and_die(home: Home, hub: Hub, point: str) -> None:
    """Work off the requests in a process of its own that is killed at a point."""

    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    if (child := os.fork()) == 0:
        try:
            with mock.patch(KILLED_AT[point], die):
                work_off(home, hub)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


@pytest.mark.parametrize("point", KILLED_AT)
def test_wherever_it_is_killed_a_release_is_published_once_by_the_person_who_asked(
    home: Home, server: Running, point: str
) -> None:
    hub = Hub(server.endpoint, TOKEN)
    send(browser_of(home), f"{RELEASE}/publish")
    work_off_and_die(home, hub, point)
    work_off(home, hub)
    commits = [commit.title for commit in hub.api.list_repo_commits(f"{NAMESPACE}/small-balanced")]
    assert commits.count("Release balanced of cycle small-1") == 1
    assert decisions(home) == ["balanced published anna "]
    assert state_of(home) is State.PUBLISHED


def test_an_edited_card_is_shown_so_and_is_published_only_when_that_is_meant(home: Home, server: Running) -> None:
    hub, browser = Hub(server.endpoint, TOKEN), browser_of(home)
    card = home.release("small-1", "balanced") / "README.md"
    card.write_text(card.read_text(encoding="utf-8") + "\nMore words.\n", encoding="utf-8")
    page = browser.get(RELEASE).text
    assert "edited since it was written: README.md" in page and "More words." in page
    answer = send(browser, "/cycles/small-1/publish")
    assert answer.status_code == 409 and "every release that waits was edited" in answer.text
    send(browser, f"{RELEASE}/publish")
    work_off(home, hub)
    assert state_of(home) is State.REVIEW
    assert "look at it, then tick that to publish it so" in browser.get(RELEASE).text
    send(browser, f"{RELEASE}/publish", edits=tick(browser, "edits"))
    card.write_text(card.read_text(encoding="utf-8") + "\nUnseen words.\n", encoding="utf-8")
    os.utime(card, (0, 0))  # as a copy from elsewhere may be older than what it replaces
    work_off(home, hub)
    assert state_of(home) is State.REVIEW
    assert "README.md: edited after this was asked for" in browser.get(RELEASE).text
    send(browser, f"{RELEASE}/publish", edits=tick(browser, "edits"))
    work_off(home, hub)
    assert state_of(home) is State.PUBLISHED
    content = Path(hub.api.hf_hub_download(f"{NAMESPACE}/small-balanced", "README.md", cache_dir=home.folder / "c"))
    assert "More words." in content.read_text(encoding="utf-8")


def test_a_release_whose_repo_somebody_deleted_is_published_only_when_that_is_meant(
    home: Home, server: Running
) -> None:
    hub, browser, ledger = Hub(server.endpoint, TOKEN), browser_of(home), Ledger(home.ledger)
    send(browser, f"{RELEASE}/publish")
    work_off(home, hub)
    (first,) = ledger.releases("small-1")
    hub.api.delete_repo(first.repo)
    again = ledger.begin("small", "d3", datetime.now(UTC)).id  # it finds the same merge
    ledger.keep(again, "watchlist", small_watchlist(publish={"mode": "review"}), Watchlist)
    shutil.copytree(home.release("small-1", "balanced"), home.release(again, "balanced"))
    ledger.record_release(replace(first, cycle=again, commit=None), None)
    ledger.finish(again, State.REVIEW, "", datetime.now(UTC))
    page = f"/cycles/{again}/releases/balanced"
    send(browser, f"{page}/publish", page)
    work_off(home, hub)
    assert "somebody deleted the repo" in browser.get(page).text and not hub.api.repo_exists(first.repo)
    send(browser, f"{page}/publish", page, over_changes=tick(browser, "over_changes", page))
    work_off(home, hub)
    assert ledger.cycle(again).state is State.PUBLISHED and hub.api.repo_exists(first.repo)
    ledger.close()


def test_a_hub_that_refuses_is_shown_and_the_release_still_waits(home: Home) -> None:
    browser = browser_of(home)
    send(browser, f"{RELEASE}/publish")
    work_off(home)
    page = browser.get("/cycles/small-1").text
    assert "could not publish it: http://127.0.0.1:9: no token; set HF_TOKEN" in page
    assert state_of(home) is State.REVIEW
    assert f'action="{RELEASE}/publish"' in page


def test_a_release_that_was_rejected_elsewhere_meanwhile_is_not_published(home: Home, server: Running) -> None:
    hub, browser = Hub(server.endpoint, TOKEN), browser_of(home)
    send(browser, f"{RELEASE}/publish")
    ledger = Ledger(home.ledger)
    reject_releases(ledger, home, hub, "small-1", ["balanced"], "on second thoughts", Listener(), who="berta")
    ledger.close()
    work_off(home, hub)
    assert state_of(home) is State.REJECTED
    assert "meanwhile rejected by berta" in browser.get("/cycles/small-1").text


def test_a_bug_fails_its_request_alone(home: Home) -> None:
    browser = browser_of(home)
    send(browser, f"{RELEASE}/reject", note="no")

    def hub_of(_: str) -> Hub:
        raise KeyError("hub")

    while ReviewWorker(home, hub_of, Listener()).work_off():
        pass
    assert "could not reject it: a bug in shoal: KeyError" in browser.get("/cycles/small-1").text


def test_a_cycle_whose_hub_cannot_be_asked_holds_up_no_other(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, now = Ledger(home.ledger), datetime.now(UTC)
    for cycle, hub in (("small-1", "http://127.0.0.1:8300"), ("other-1", "127.0.0.1")):
        ledger.keep(cycle, "hub", hub, str)
        record_pull_request(ledger, PullRequest(cycle, "balanced", "reef/m", 1, "b" * 64, "http://127.0.0.1/1", now))
    ledger.close()
    asked = []

    def settle(_: Ledger, __: Home, hub: Hub, cycle: str, ___: Listener) -> tuple[str, ...]:
        asked.append((cycle, hub.endpoint))
        return ()

    monkeypatch.setattr("bot.service.review_worker.settle_pull_requests", settle)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.delenv("HF_HUB_DISABLE_XET", raising=False)
    given = []
    with monkeypatch.context() as patch:
        patch.setattr(PageBuilder, "__init__", lambda _, *arguments: given.append(arguments))
        page_of(home, NOWHERE, None, Listener(), (), PageOptions("127.0.0.1", 0), None)
    hub_of, listener = given[0][2], Listener()
    worker, before = ReviewWorker(home, hub_of, listener), dict(os.environ)
    worker.look_up_pull_requests()
    worker.look_up_pull_requests()
    assert asked == [("small-1", "http://127.0.0.1:8300")] * 2
    assert [line.partition(": got")[0] for line in listener.said] == [
        "warning: other-1: its pull requests cannot be looked up: --endpoint"
    ]  # once
    assert os.environ == before  # of a service, whose next cycle is of another Hub


@pytest.mark.parametrize(
    ("path", "fields", "status", "reason"),
    [
        (f"{RELEASE}/reject", {"note": " \n"}, 400, "A rejection needs a note"),
        ("/cycles/small-1/releases/best/publish", {}, 404, "has no release best"),
        ("/cycles/none-1/publish", {}, 404, "has no release"),
        ("/watchlists/small/run", {}, 404, "is not a watchlist of this service"),
        (f"{RELEASE}/publish", {"note": "x" * 20_000}, 413, "too large"),
    ],
)
def test_a_wrong_form_changes_nothing_and_says_why(
    home: Home, path: str, fields: dict[str, str], status: int, reason: str
) -> None:
    answer = send(browser_of(home), path, **fields)
    assert (answer.status_code, reason in answer.text) == (status, True)
    ledger = Ledger(home.ledger)
    assert newest_requests(ledger, "small-1") == {}
    ledger.close()


def test_a_release_that_is_decided_on_cannot_be_decided_on_again(home: Home) -> None:
    browser = browser_of(home)
    token = form_token(browser)
    send(browser, f"{RELEASE}/reject", note="no")
    work_off(home)
    answer = browser.post(f"{RELEASE}/publish", data={"token": token})
    assert answer.status_code == 409 and "decided on already" in answer.text
    ledger = Ledger(home.ledger)
    assert newest_requests(ledger, "small-1")["balanced"].state is RequestState.DONE
    ledger.close()


def test_a_forged_form_is_refused(home: Home) -> None:
    browser = browser_of(home)
    assert browser.post(f"{RELEASE}/publish").status_code == 403
    assert browser.post(f"{RELEASE}/publish", data={"token": "0" * 64}).status_code == 403
    stranger = browser_of(home)
    assert browser.post(f"{RELEASE}/publish", data={"token": form_token(stranger)}).status_code == 403
    own, elsewhere = {"token": form_token(browser)}, {"origin": "https://evil.example"}
    assert browser.post(f"{RELEASE}/publish", data=own, headers=elsewhere).status_code == 403
    cookie = browser.get("/").headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie


@pytest.fixture
def schedule(home: Home) -> Iterator[tuple[CronJobs, DueWatchlists, Retries]]:
    """A schedule with one watchlist, in which time stands still."""
    path = write_watchlist(home.folder / "small.yml", name="small", schedule={"cron": "0 0 1 1 *"})
    scheduler = BackgroundScheduler()
    scheduler.start(paused=True)
    jobs = CronJobs(scheduler)
    jobs.update({path: load_watchlist(path)})
    yield jobs, DueWatchlists(), Retries(lambda: datetime.now(UTC))
    scheduler.shutdown(wait=False)


def test_a_schedule_can_be_paused_and_resumed(home: Home, schedule: tuple[CronJobs, DueWatchlists, Retries]) -> None:
    browser = browser_of(home, schedule_controls(home, *schedule))
    assert "Pause" in browser.get("/").text
    assert send(browser, "/watchlists/small/pause", page="/").status_code == 303
    assert "Resume" in browser.get("/").text and schedule[0].paused() == {"small"}
    assert send(browser, "/watchlists/small/resume", page="/").status_code == 303
    assert schedule[0].paused() == frozenset()
    assert send(browser, "/watchlists/small/explode", page="/").status_code == 404
    assert send(browser, "/watchlists/other/run", page="/").status_code == 404


def test_a_run_that_was_asked_for_survives_a_crash_and_can_be_withdrawn_until_it_begins(
    home: Home, schedule: tuple[CronJobs, DueWatchlists, Retries]
) -> None:
    jobs, due, retries = schedule
    path = jobs.paths()["small"]
    browser = browser_of(home, schedule_controls(home, *schedule))
    assert send(browser, "/watchlists/small/withdraw", page="/").status_code == 409
    send(browser, "/watchlists/small/run", page="/")
    send(browser, "/watchlists/small/run", page="/")
    shown = browser.get("/").text
    assert due.waiting() == (path,)
    assert "anna asked at" in shown and "Withdraw the run: small" in shown and "Run now" not in shown
    send(browser, "/watchlists/small/withdraw", page="/")
    assert due.waiting() == () and "Run now" in browser.get("/").text

    send(browser, "/watchlists/small/run", page="/")
    due.add(path)  # by the schedule, as well
    send(browser, "/watchlists/small/withdraw", page="/")
    assert due.waiting() == (path,) and "anna asked at" not in browser.get("/").text
    assert due.take(path)

    send(browser, "/watchlists/small/run", page="/")
    after_a_crash = DueWatchlists()
    add_waiting_runs(home, jobs, after_a_crash)
    browser = browser_of(home, schedule_controls(home, jobs, after_a_crash, retries))
    assert after_a_crash.wait_for_next(0) == path and after_a_crash.take(path)
    assert "anna asked at" in browser.get("/").text  # until its cycle is in the ledger
    assert send(browser, "/watchlists/small/withdraw", page="/").status_code == 409
    ledger = Ledger(home.ledger)
    settle_run_requests(ledger, "small")
    assert "anna asked at" not in browser.get("/").text
    with ledger.transaction() as session:
        rows = [(row.who, row.state, row.outcome[:16]) for row in session.query(RunRequestRow)]
    ledger.close()
    assert rows == [("anna", "withdrawn", "anna withdrew it")] * 2 + [("anna", "done", "")]


def test_a_process_whose_state_another_has_taken_publishes_nothing(
    home: Home, server: Running, schedule: tuple[CronJobs, DueWatchlists, Retries], tmp_path: Path
) -> None:
    hub, browser, new = Hub(server.endpoint, TOKEN), browser_of(home), Home(tmp_path / "new")
    ledger = Ledger(home.ledger)
    ledger.keep("small-1", "hub", server.endpoint, str)
    ledger.close()
    older, newer = (StateKeeper(StateRepo(hub, f"{NAMESPACE}/state"), *one, print) for one in ((home, "a"), (new, "b")))
    older.begin()
    newer.begin()
    send(browser, f"{RELEASE}/publish")
    open_page = page_of(home, hub, None, Listener(), (), PageOptions("127.0.0.1", 0), None)
    assert open_page is not None
    with mock.patch.dict(os.environ, HF_TOKEN=TOKEN), open_page(older.save)(*schedule, Wakes(home, [])):
        end = time.monotonic() + 60
        while "could not publish it" not in (page := browser.get("/cycles/small-1").text):
            assert time.monotonic() < end
    assert re.search(r"--state: .*state: b at .* was first", page)
    assert state_of(home) is State.REVIEW and not hub.api.repo_exists(f"{NAMESPACE}/small-balanced")


def test_with_a_password_nothing_is_shown_or_done_before_the_login(home: Home) -> None:
    browser = browser_of(home, password="correct horse")
    for path, place in (("/", "/login"), (RELEASE, f"/login?next={quote(RELEASE, safe='')}")):
        assert (browser.get(path).status_code, browser.get(path).headers["location"]) == (303, place)
    assert browser.get("/events").status_code == 401
    assert browser.post(f"{RELEASE}/publish").status_code == 401
    assert browser.get("/healthz").json() == {"well": True}
    refused = send(browser, "/login", page="/login", password="wrong horse")
    assert refused.status_code == 403 and "not the password" in refused.text
    answer = send(browser, "/login", page="/login", password="correct horse", next=RELEASE)
    assert (answer.status_code, answer.headers["location"]) == (303, RELEASE)
    assert "small-1" in browser.get("/").text
    assert "faults" in browser.get("/healthz").json()
    assert send(browser, "/logout", page="/").status_code == 303
    assert browser.get("/").status_code == 303


def test_too_many_wrong_passwords_close_the_door_for_a_while(home: Home) -> None:
    browser = browser_of(home, password="correct horse")
    for _ in range(TRIES):
        assert send(browser, "/login", page="/login", password="guess").status_code == 403
    refused = send(browser, "/login", page="/login", password="correct horse")
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) in range(50, 61)


def test_an_address_that_others_reach_needs_a_password(tmp_path: Path) -> None:
    builder = PageBuilder(Home(tmp_path), NOWHERE, lambda _: NOWHERE, Listener(), ())
    with (
        pytest.raises(ShoalError, match=r"--host: got 0\.0\.0\.0: others could reach .* `shoal page --set-password`"),
        builder.opened(PageOptions("0.0.0.0", 0)),
    ):
        pass


@pytest.mark.parametrize("name", ["https://shoal.example.org", "shoal.example.org:8400", "*", "a*b", ""])
def test_a_name_that_no_browser_would_send_is_refused(tmp_path: Path, name: str) -> None:
    builder = PageBuilder(Home(tmp_path), NOWHERE, lambda _: NOWHERE, Listener(), ())
    with (
        pytest.raises(ShoalError, match=r"--name: got .*: write a host's name alone"),
        builder.opened(PageOptions("127.0.0.1", 0, (name,))),
    ):
        pass


@pytest.mark.parametrize("option", ["--port", "--page"])
def test_a_taken_port_is_a_line_that_names_the_option(tmp_path: Path, option: str) -> None:
    builder = PageBuilder(Home(tmp_path), NOWHERE, lambda _: NOWHERE, Listener(), ())
    with (
        builder.opened(PageOptions("127.0.0.1", 0)) as (_, listener),
        pytest.raises(ShoalError, match=rf"{option}: got \d+: Address already in use; choose another"),
        builder.opened(PageOptions("127.0.0.1", listener.getsockname()[1], port_option=option)),
    ):
        pass

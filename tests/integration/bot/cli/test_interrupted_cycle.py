"""A cycle by the command line: refused before its search, interrupted, resumed, stopped, published by hand, shown."""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.demo import TOKEN
from bot.home import Home
from bot.ledger.ledger import Ledger, State
from bot.ledger.run_requests import make_run_request, waiting_runs
from bot.lock import hold_home
from fixtures.cycles import QUICK
from fixtures.loaded_modules import HEAVY, loaded
from fixtures.shoal_here import Here, here, signal_when
from fixtures.shoal_process import one_line_error, start, until, wait_until_gone, write_watchlist, zoo_hub
from localhub import Running

__all__ = ["here"]


@dataclass(frozen=True)
class Story:
    """One home and one Hub that several commands work on."""

    server: Running
    home: Home
    watchlist: Path

    @property
    def where(self) -> tuple[object, ...]:
        """The options for both."""
        return ("--home", self.home.folder, "--endpoint", self.server.endpoint)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    with zoo_hub(folder / "hub") as server:
        path = write_watchlist(
            folder / "w.yml", schedule={"cron": "0 0 1 1 *"}, **QUICK | {"publish": {"mode": "review"}}
        )
        yield Story(server, Home(folder / "home"), path)


def test_what_would_fail_after_the_search_is_found_before_it(here: Here, story: Story, tmp_path: Path) -> None:
    elsewhere = write_watchlist(tmp_path / "w.yml", publish={"namespace": "tidepool"})
    fault = one_line_error(here("run", elsewhere, *story.where, token=TOKEN))
    assert fault.startswith("publish.namespace: got 'tidepool': the token belongs to shoal-bot, and may write to")
    assert "no token; set HF_TOKEN" in one_line_error(here("run", story.watchlist, *story.where))
    assert "the Hub answers 401" in one_line_error(here("run", story.watchlist, *story.where, token="hf_wrong"))
    (cycle,) = Ledger(story.home.ledger).cycles()
    assert (cycle.id, cycle.state) == ("small-1", State.FAILED) and "the Hub answers 401" in cycle.note


def test_a_home_in_use_is_refused(here: Here, story: Story) -> None:
    with hold_home(story.home):
        fault = one_line_error(here("run", story.watchlist, *story.where, token=TOKEN))
    assert "another shoal process is using" in fault


def test_a_full_disk_is_an_error_of_one_line(here: Here, story: Story) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Files of this process may not grow beyond this; a model of the zoo is larger.
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))
    try:
        done = here("run", story.watchlist, *story.where, token=TOKEN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("shoal: ") and "File too large; free some space" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cycle_is_interrupted_resumed_stopped_published_by_hand_and_shown(here: Here, story: Story) -> None:
    process = start("run", story.watchlist, *story.where, token=TOKEN)
    ledger = Ledger(story.home.ledger)
    until(lambda: ledger.count_evaluations() >= 10, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    wait_until_gone(process, 60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1].startswith("shoal: interrupted; nothing is lost") and "Traceback" not in err
    fault = one_line_error(here("publish", "small-1", *story.where, token=TOKEN))
    assert "no release waits for review, as its state is 'running'" in fault

    # The schedule resumes it at its start, and that is what was asked for.
    make_run_request(ledger, "small", "ann")
    before = ledger.count_evaluations()
    with signal_when(lambda: ledger.count_evaluations() > before, signal.SIGTERM):
        done = here("serve", story.watchlist, *story.where, token=TOKEN)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "stopped")
    assert ledger.cycle("small-1").state is State.RUNNING and waiting_runs(ledger) == ()
    with hold_home(story.home):
        pass

    done = here("run", story.watchlist, *story.where, "--json", token=TOKEN)
    page = json.loads(done.stdout)
    assert (done.returncode, page["id"], page["state"]) == (0, "small-1", State.REVIEW)
    hint = f"waiting for review: shoal review small-1 --home {story.home.folder} --endpoint {story.server.endpoint}"
    assert done.stderr.splitlines()[-1].endswith(hint)

    assert "cycle 'small-7' is not in" in one_line_error(here("publish", "small-7", *story.where, token=TOKEN))
    shown = json.loads(here("review", "--json", *story.where).stdout)["reviews"]
    assert [one["cycle"] for one in shown] == ["small-1"] and all(one["waiting"] for one in shown[0]["releases"])
    # Whoever decides later need not remember the Hub.
    assert json.loads(here("review", "--home", story.home.folder, "--json").stdout)["reviews"] == shown
    done = here("publish", "small-1", *story.where, token=TOKEN)
    assert done.returncode == 0 and done.stdout.startswith("small-1: published\n")
    (row,) = json.loads(here("status", "--home", story.home.folder, "--json").stdout)["cycles"]
    assert row["state"] == "published" and row["releases"] and all(one["commit"] for one in row["releases"])

    lines = here("show", "small-1", "--home", story.home.folder).stdout.splitlines()
    assert all(line == line.rstrip() for line in lines)
    assert any("minnow-slim" in line and "80×104, not 80×208" in line for line in lines)
    assert "cycle 'nothing' is not in" in one_line_error(here("show", "nothing", "--home", story.home.folder))
    # Past cycles are shown without loading what cycles need.
    known = loaded("show", "small-1", "--home", story.home.folder)
    assert (known | loaded("status", "--home", story.home.folder)) & HEAVY == set()

"""`shoal` with its output and exit status: as processes, or in this one where nothing but the answer is at stake."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from bot.demo import TOKEN
from bot.home import Home
from bot.hub.client import Hub
from bot.ledger.ledger import Ledger, State
from bot.version import shoal_version
from fixtures.loaded_modules import HEAVY, loaded
from fixtures.shoal_here import Here, here
from fixtures.shoal_process import ROOT, one_line_error, shoal, start, until, write_watchlist

__all__ = ["here"]

COMMANDS = (
    *("init", "check", "schema", "plan", "prompt", "run", "serve", "status", "show", "review", "publish", "reject"),
    *("export", "clean", "merge", "hub", "demo", "notify", "page"),
)


# -- quick answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["demo", "--help"], ["check", "watchlists/demo.yml"]]
)
def test_help_and_check_load_nothing_that_takes_time(arguments: list[str]) -> None:
    assert loaded(*arguments) & (HEAVY | {"sqlalchemy"}) == set()


def test_a_schedule_and_reviews_wait_without_what_merges_need() -> None:
    code = "import sys, bot.service.serve, bot.cycle.past.review; print(*(name.split('.')[0] for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & HEAVY == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_in_80_columns(here: Here, command: str) -> None:
    done = here(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Example: shoal {command}" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_the_version_is_printed() -> None:
    assert shoal("--version").stdout == f"shoal {shoal_version()}\n"


def test_check_describes_the_watchlist_in_a_line_and_as_json() -> None:
    path = ROOT / "watchlists" / "demo.yml"
    done = shoal("check", path)
    assert done.stdout == f"{path}: fine. demo: skills math, language, cross; task_arithmetic; runs 0 6 * * * UTC\n"
    assert json.loads(shoal("check", path, "--json").stdout)["watchlists"][0]["valid"] is True


# -- one line for each fault --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written, expected",
    [
        ("name: [", "w.yml:2: not valid YAML"),
        ("just words", "w.yml:1: got no `key: value` lines: not a watchlist"),
    ],
)
def test_a_file_that_is_not_a_watchlist_is_refused(here: Here, tmp_path: Path, written: str, expected: str) -> None:
    (tmp_path / "w.yml").write_text(written + "\n")
    assert expected in one_line_error(here("check", tmp_path / "w.yml"))


@pytest.mark.parametrize("command", ["check", "plan", "run", "serve"])
def test_a_wrong_watchlist_is_refused_by_every_command_that_reads_one(here: Here, tmp_path: Path, command: str) -> None:
    path = write_watchlist(tmp_path / "w.yml", schedule={"cron": "0 6 * * *"})
    path.write_text(path.read_text().replace('"max_sources"', '"max_source"'))
    assert "max_source: got 4: is not a known key; did you mean 'max_sources'?" in one_line_error(here(command, path))
    path.write_text(path.read_text().replace('"max_source"', '"max_sources"').replace("0 6 * * *", "0 61 * * *"))
    assert "schedule.cron: got '0 61 * * *'" in one_line_error(here(command, path))
    assert "nothing.yml: cannot be read (No such file or directory)" in one_line_error(here(command, "nothing.yml"))


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://hub", "http://", "http://127.0.0.1:99999"])
def test_an_endpoint_that_is_not_an_address_is_refused(here: Here, tmp_path: Path, endpoint: str) -> None:
    path = write_watchlist(tmp_path / "w.yml")
    fault = one_line_error(here("run", path, "--home", tmp_path / "home", "--endpoint", endpoint))
    assert fault == f"--endpoint: got '{endpoint}': is not a Hub's address; write one such as http://127.0.0.1:8300"
    assert not (tmp_path / "home").exists()


def test_a_hub_that_is_down_is_one_line_without_the_output_of_its_client(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, down = write_watchlist(tmp_path / "w.yml"), "http://127.0.0.1:9: the Hub cannot be reached"
    done = shoal("run", path, "--home", tmp_path / "home", "--endpoint", "http://127.0.0.1:9", token=TOKEN, hurry=True)
    (cycle,) = Ledger(Home(tmp_path / "home").ledger).cycles()
    assert (cycle.state, cycle.note) == (State.FAILED, f"{down}; try again later")
    monkeypatch.setitem(Hub.__init__.__kwdefaults__, "sleep", lambda _: None)
    for told in (done, here("plan", path, "--endpoint", "http://127.0.0.1:9", token=TOKEN)):
        *tries, error = told.stderr.splitlines()
        assert (told.returncode, told.stdout, error) == (1, "", f"shoal: {down}; try again later")
        # On a busy machine, a line of progress may stand between them.
        again = [line for line in tries if line.startswith(down)]
        assert again == [f"{down}; trying again in {seconds} s" for seconds in (2, 4, 8)]
        assert len(tries) <= len(again) + 1


def test_a_missing_home_and_one_that_is_not_a_folder_are_refused(here: Here, tmp_path: Path) -> None:
    path = write_watchlist(tmp_path / "w.yml")
    (tmp_path / "file").write_text("")
    for with_file in (["run", path], ["status"], ["page"], ["notify"]):
        assert "is a file; choose a folder" in one_line_error(here(*with_file, "--home", tmp_path / "file"))
    for command in (["status"], ["show", "small-1"], ["publish", "small-1"]):
        assert "no ledger here yet" in one_line_error(here(*command, "--home", tmp_path / "typo"))
    assert not (tmp_path / "typo").exists()


def test_a_file_that_is_not_a_ledger_is_refused_and_left_alone(here: Here, tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_text("a diary, not a database\n" * 100)
    assert "not a ledger (file is not a database)" in one_line_error(here("status", "--home", tmp_path))
    assert (tmp_path / "ledger.sqlite").read_text().startswith("a diary")


def test_a_pipe_that_its_reader_closes_is_not_an_error() -> None:
    process = start("check", ROOT / "watchlists" / "demo.yml", "--json")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.wait()


# -- the local Hub ------------------------------------------------------------------------------------------------


def answers(port: int) -> bool:
    """Whether a web server shows its first page there."""
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/").status == 200
    except urllib.error.URLError:
        return False


def test_the_local_hub_shows_its_token_once_answers_and_stops_on_signals(tmp_path: Path) -> None:
    port = 18_300 + hash(str(tmp_path)) % 10_000
    for place, number in enumerate((signal.SIGINT, signal.SIGTERM)):
        process = start("hub", tmp_path / "hub", "--port", port)
        until(lambda port=port: answers(port), process)
        taken = one_line_error(shoal("hub", tmp_path / "other", "--port", port))
        assert taken == f"--port: got {port}: Address already in use; choose another"
        assert not (tmp_path / "other").exists()
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "")
        lines = err.splitlines()
        assert ("HF_TOKEN=hf_" in lines[0]) == (place == 0)
        assert lines[-1] == "stopped" and f"http://127.0.0.1:{port} in a browser" in lines[-4]


def test_a_hub_on_an_address_of_another_machine_is_refused(here: Here, tmp_path: Path) -> None:
    fault = one_line_error(here("hub", tmp_path / "hub", "--host", "192.0.2.1"))
    assert fault.startswith("--host: got 192.0.2.1: ")
    (tmp_path / "file").write_text("")
    assert "Not a directory; check the path" in one_line_error(here("hub", tmp_path / "file", "--port", 18_299))
    fault = one_line_error(here("hub", tmp_path / "hub", "--port", 18_298, "--oauth-app", "ftp:/page"))
    assert "'ftp:/page'" in fault and not (tmp_path / "hub").exists()


def test_a_demo_in_a_file_is_refused(here: Here, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "Not a directory; choose a folder" in one_line_error(here("demo", tmp_path / "file"))

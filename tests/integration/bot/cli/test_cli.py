"""`shoal` with its output and exit status: as processes, or in this one where nothing but the answer is at stake."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.demo import TOKEN
from bot.home import Home
from bot.ledger.ledger import Ledger, State
from bot.ledger.run_requests import make_run_request, waiting_runs
from bot.lock import hold_home
from bot.version import shoal_version
from fixtures.shoal_here import Here, here
from fixtures.shoal_process import ROOT, one_line_error, shoal, start, until, wait_until_gone, write_watchlist, zoo_hub
from localhub import Running

__all__ = ["here"]

COMMANDS = (
    *("init", "check", "schema", "plan", "prompt", "run", "serve", "status", "show", "review", "publish", "reject"),
    *("export", "clean", "merge", "hub", "demo", "notify", "page"),
)
HEAVY = {"torch", "transformers", "lm_eval", "datasets", "huggingface_hub", "pymoo", "matplotlib", "scipy", "uvicorn"}
LOADED = """
import sys
from bot.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def loaded(*arguments: object) -> set[str]:
    """The top-level modules that a command has loaded when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.rpartition("LOADED")[2].split())


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


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_hub_that_is_down_is_one_line_without_the_output_of_its_client(tmp_path: Path, command: str) -> None:
    path = write_watchlist(tmp_path / "w.yml")
    home = ["--home", tmp_path / "home"] if command == "run" else []
    done = shoal(command, path, *home, "--endpoint", "http://127.0.0.1:9", token=TOKEN, hurry=True)
    down = "http://127.0.0.1:9: the Hub cannot be reached"
    *tries, error = done.stderr.splitlines()
    assert (done.returncode, done.stdout, error) == (1, "", f"shoal: {down}; try again later")
    # On a busy machine, a line of progress may stand between them.
    again = [line for line in tries if line.startswith(down)]
    assert again == [f"{down}; trying again in {seconds} s" for seconds in (2, 4, 8)] and len(tries) <= len(again) + 1
    if command == "run":
        (cycle,) = Ledger(Home(tmp_path / "home").ledger).cycles()
        assert (cycle.state, cycle.note) == (State.FAILED, f"{down}; try again later")


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


# -- a cycle, disturbed -------------------------------------------------------------------------------------------


@dataclass
class Story:
    """One home and one Hub that several commands work on."""

    server: Running
    home: Home
    watchlist: Path

    def shoal(self, command: str, *arguments: object, token: str | None = TOKEN, **options: object):  # type: ignore[no-untyped-def]
        """Run a command on the home; on the Hub, for the commands that talk to it."""
        hub = () if command in ("status", "show") else ("--endpoint", self.server.endpoint)
        return shoal(command, *arguments, "--home", self.home.folder, *hub, token=token, **options)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    with zoo_hub(folder / "hub") as server:
        path = write_watchlist(folder / "w.yml", publish={"mode": "review"}, schedule={"cron": "0 0 1 1 *"})
        yield Story(server, Home(folder / "home"), path)


def test_what_would_fail_after_the_search_is_found_before_it(story: Story, tmp_path: Path) -> None:
    elsewhere = write_watchlist(tmp_path / "w.yml", publish={"namespace": "tidepool"})
    fault = one_line_error(story.shoal("run", elsewhere))
    assert fault.startswith("publish.namespace: got 'tidepool': the token belongs to shoal-bot, and may write to")
    assert "no token; set HF_TOKEN" in one_line_error(story.shoal("run", story.watchlist, token=None))
    assert "the Hub answers 401" in one_line_error(story.shoal("run", story.watchlist, token="hf_wrong"))
    (cycle,) = Ledger(story.home.ledger).cycles()
    assert (cycle.id, cycle.state) == ("small-1", State.FAILED) and "the Hub answers 401" in cycle.note


def test_a_home_in_use_is_refused(story: Story) -> None:
    with hold_home(story.home):
        assert "another shoal process is using" in one_line_error(story.shoal("run", story.watchlist))


def test_a_full_disk_is_an_error_of_one_line(story: Story) -> None:
    def no_room() -> None:
        # Files of this process may not grow beyond this; a model of the zoo is larger.
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    done = story.shoal("run", story.watchlist, preexec_fn=no_room)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("shoal: ") and "File too large; free some space" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cycle_is_interrupted_resumed_stopped_published_by_hand_and_shown(story: Story) -> None:
    where = ("--home", story.home.folder, "--endpoint", story.server.endpoint)
    process = start("run", story.watchlist, *where, token=TOKEN)
    ledger = Ledger(story.home.ledger)
    until(lambda: ledger.count_evaluations() >= 10, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    wait_until_gone(process, 60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1].startswith("shoal: interrupted; nothing is lost") and "Traceback" not in err
    assert "is running, not waiting for review" in one_line_error(story.shoal("publish", "small-1"))

    # The schedule resumes it at its start, and that is what was asked for.
    make_run_request(ledger, "small", "ann")
    before = ledger.count_evaluations()
    process = start("serve", story.watchlist, *where, token=TOKEN)
    until(lambda: ledger.count_evaluations() > before, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()[-1]) == (0, "stopped")
    assert ledger.cycle("small-1").state is State.RUNNING and waiting_runs(ledger) == ()
    with hold_home(story.home):
        pass

    done = story.shoal("run", story.watchlist, "--json")
    page = json.loads(done.stdout)
    assert (done.returncode, page["id"], page["state"]) == (0, "small-1", State.REVIEW)
    assert "Warning" not in done.stderr
    hint = f"waiting for review: shoal review small-1 --home {story.home.folder} --endpoint {story.server.endpoint}"
    assert done.stderr.splitlines()[-1].endswith(hint)

    assert "cycle 'small-7' is not in" in one_line_error(story.shoal("publish", "small-7"))
    shown = json.loads(story.shoal("review", "--json").stdout)["reviews"]
    assert [one["cycle"] for one in shown] == ["small-1"] and all(one["waiting"] for one in shown[0]["releases"])
    # Whoever decides later need not remember the Hub.
    assert json.loads(shoal("review", "--home", story.home.folder, "--json").stdout)["reviews"] == shown
    done = story.shoal("publish", "small-1")
    assert done.returncode == 0 and done.stdout.startswith("small-1: published\n")
    (row,) = json.loads(story.shoal("status", "--json").stdout)["cycles"]
    assert row["state"] == "published" and row["releases"] and all(one["commit"] for one in row["releases"])

    lines = story.shoal("show", "small-1").stdout.splitlines()
    assert all(line == line.rstrip() for line in lines)
    assert any("minnow-slim" in line and "80×104, not 80×208" in line for line in lines)
    assert "cycle 'nothing' is not in" in one_line_error(story.shoal("show", "nothing"))
    # Past cycles are shown without loading what cycles need.
    shown = loaded("show", "small-1", "--home", story.home.folder)
    assert (shown | loaded("status", "--home", story.home.folder)) & HEAVY == set()


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

"""The whole way of a state: a Job begins a cycle and is killed, a Space goes on with it, and is told when another does.

The processes are those that the Hub would run, with the environment that it would give them.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
from huggingface_hub import snapshot_download

from bot.demo import TOKEN
from bot.home import Home
from bot.ledger.ledger import Ledger, State
from bot.ledger.snapshot import read_mark
from bot.service.state.keeper import StateKeeper
from bot.service.state.repo import StateRepo
from fixtures.cycles import NAMESPACE, QUICK, client, published
from fixtures.folders import ROOT
from fixtures.served_watchlists import write_served
from fixtures.shoal_here import Here, here
from fixtures.shoal_process import end_with_test, start, until
from localhub import Running, Shelf, listen
from localhub.shelves.space_settings import hash_secret, read_space_settings

__all__ = ["here"]

SPACE, STATE = f"{NAMESPACE}/bot", f"{NAMESPACE}/bot-state"


def run_command(space: Path, home: Path, server: Running, port: int) -> subprocess.Popen[str]:
    """Start the command of a Space's container, with the environment of a Space, at a free port."""
    shelf = Shelf(server.store, "spaces").find(SPACE)
    assert shelf is not None
    settings = read_space_settings(shelf)
    assert settings.secrets == {"HF_TOKEN": hash_secret(TOKEN)}
    (words,) = [line for line in (space / "Dockerfile").read_text().splitlines() if line.startswith("CMD ")]
    program, *rest = json.loads(words.removeprefix("CMD "))
    assert program == "shoal" and rest[2] == "0.0.0.0:7860"
    rest[2] = f"0.0.0.0:{port}"
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(home), "SHOAL_HOME": str(home / "home"),
        "HF_ENDPOINT": server.endpoint, "HF_TOKEN": TOKEN, "OMP_NUM_THREADS": "1", "SPACE_ID": SPACE,
        "SPACE_HOST": "shoal-demo-bot.example.org", "OAUTH_CLIENT_ID": "id", "OAUTH_CLIENT_SECRET": "secret",
        "OPENID_PROVIDER_URL": server.endpoint, **settings.variables,
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "bot", *rest], cwd=space, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    return end_with_test(process)


def test_a_space_goes_on_where_a_job_was_killed_and_publishes_nothing_twice(
    here: Here, server: Running, tmp_path: Path
) -> None:
    watchlist = write_served(tmp_path / "lists", **QUICK)
    deployed = here(
        "deploy", "space", SPACE, watchlist, "--package", "git+https://example.org/shoal.git",
        "--allow", "user:anna", "--endpoint", server.endpoint, token=TOKEN,
    )  # fmt: skip
    assert f"its state is kept in {STATE}; user:anna may log in" in deployed.stderr, deployed.stderr

    first = Home(tmp_path / "job")
    job = start("run", watchlist, "--state", STATE, "--home", first.folder, "--endpoint", server.endpoint, token=TOKEN)
    sent = f"/api/models/{NAMESPACE}/"
    until(lambda: any(path.startswith(sent) and "/commit/" in path for _, path in server.faults.seen), job)
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate()
    begun, scored = published(server), read_mark(first.ledger).evaluations

    folder = tmp_path / "space"
    snapshot_download(
        SPACE, repo_type="space", local_dir=folder, endpoint=server.endpoint, token=TOKEN, cache_dir=tmp_path / "cache"
    )
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    (tmp_path / "container").mkdir()
    home = Home(tmp_path / "container" / "home")
    space = run_command(folder, tmp_path / "container", server, port)

    until(lambda: _newest_state(home) is State.PUBLISHED, space)
    assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    now = published(server)
    assert [len(titles) for titles in now.values()] == [2]  # the repo's own first commit, and the release
    assert set(begun) <= set(now)
    assert read_mark(home.ledger).evaluations == scored  # what the Job had scored was not scored again

    StateKeeper(StateRepo(client(server), STATE), Home(tmp_path / "third"), "the Job 42", print).begin()
    ledger = Ledger(home.ledger)
    ledger.finish("small-1", State.PUBLISHED, "touched", datetime.now(UTC))
    ledger.close()
    _, err = space.communicate(timeout=60)
    assert space.returncode == 1
    assert f"shoal: --state: {STATE}: the Job 42 at " in err and "was first to change it" in err, err


def _newest_state(home: Home) -> State | None:
    """Read by itself: a `Ledger`, opened again and again, would take much of the processor's time."""
    with (
        suppress(sqlite3.OperationalError),  # it is not there yet, or being replaced
        closing(sqlite3.connect(f"{home.ledger.as_uri()}?mode=ro", uri=True)) as ledger,
    ):
        row = ledger.execute("SELECT state FROM cycles ORDER BY number DESC").fetchone()
        return State(row[0]) if row else None
    return None

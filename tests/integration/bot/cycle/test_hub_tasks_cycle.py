"""A whole cycle on lm-eval's own tasks, with models and data from the Hub that `--endpoint` names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.home import Home
from bot.ledger.ledger import Ledger, State
from fixtures.data_sets import publish_data_sets
from fixtures.shoal_process import shoal, write_watchlist, zoo_hub

pytestmark = pytest.mark.slow

SKILLS = [
    {"name": "knowledge", "tasks": [{"task": "arc_easy", "metric": "acc_norm"}]},
    {"name": "sense", "tasks": [{"task": "piqa", "metric": "acc_norm"}]},
]


def test_a_cycle_runs_on_tasks_of_the_hub_that_endpoint_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers have to know the endpoint too: they load the tasks again."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    path = write_watchlist(
        tmp_path / "w.json",
        skills=SKILLS,
        items={"search": 3, "validation": 3, "report": 3},
        search={"population": 4, "budget": {"candidates": 4}, "groups": {"ends": "together"}},
        publish={"mode": "off"},
        task_folders=[],
    )
    with zoo_hub(tmp_path / "hub") as server:
        publish_data_sets(server.store, count=8)
        done = shoal("run", path, "--home", tmp_path / "home", "--endpoint", server.endpoint, "--json")
        asked = {path.removeprefix("/datasets/").partition("/resolve/")[0] for _, path in server.faults.seen}
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
    assert asked >= {"allenai/ai2_arc", "baber/piqa"}
    assert json.loads(done.stdout)["state"] in (State.WRITTEN, State.NOTHING)
    assert Ledger(Home(tmp_path / "home").ledger).count_evaluations() > 8

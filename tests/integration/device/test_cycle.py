"""A whole cycle on a GPU releases what the same cycle releases on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.cycle.dry_run import make_plan
from bot.cycle.run import run_cycle
from bot.home import Home
from bot.ledger.ledger import Ledger, State
from bot.verify_command.verify import Verifier
from fixtures import cycles
from fixtures.cycles import Listener, client, small_watchlist
from localhub import Running

CYCLE = "small-1"
ON_CPU = small_watchlist()


@pytest.fixture
def server_of_cpu(stocked: Path, tmp_path: Path) -> Iterator[Running]:
    with cycles.copy_of(stocked, tmp_path / "hub-cpu") as server:
        yield server


def test_a_cycle_on_the_device_releases_what_the_cpu_does(
    server: Running, server_of_cpu: Running, device: str, tmp_path: Path
) -> None:
    asked = {"device": "auto" if device == "cuda" else device, "count": None, "threads": None}
    watchlist, home = small_watchlist(workers=asked), Home(tmp_path / "home")
    plan = make_plan(client(server), watchlist, datetime.now(UTC))
    assert plan.cost is not None and plan.cost.device == device and plan.cost.seconds is not None
    assert run_cycle(watchlist, home, client(server), Listener()) == CYCLE
    ledger = Ledger(home.ledger)
    releases = ledger.releases(CYCLE)
    assert ledger.cycle(CYCLE).state is State.PUBLISHED and len(releases) == 2
    card = client(server).api.hf_hub_download(releases[0].repo, "README.md", cache_dir=tmp_path / "cards")
    assert ("a GPU (cuda)" in Path(card).read_text()) == (device == "cuda")

    found = Verifier(client(server), Home(tmp_path / "other"), Listener(), items=20, trusted=True).verify(
        f"{releases[0].repo}@{CYCLE}"
    )
    assert [str(check.outcome) for check in found.checks] == ["equal"] * 3

    on_cpu = Home(tmp_path / "cpu")
    assert run_cycle(ON_CPU, on_cpu, client(server_of_cpu), Listener()) == CYCLE
    expected = Ledger(on_cpu.ledger)
    assert [(one.role, one.recipe, one.files["model.safetensors"]) for one in releases] == [
        (one.role, one.recipe, one.files["model.safetensors"]) for one in expected.releases(CYCLE)
    ]
    assert sorted(ledger.front(CYCLE)) == sorted(expected.front(CYCLE))

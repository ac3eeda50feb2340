"""`shoal demo`: the whole bot on a Hub of its own, here under a small watchlist."""

from __future__ import annotations

import json
import shlex
import socket
from pathlib import Path

import pytest

import bot.cycle.run
from bot import demo
from bot.demo import how_to_read_on, run_demo, stock_hub
from bot.home import Home
from bot.ledger.ledger import Ledger, State
from fixtures.cycles import NAMESPACE, SMALL, Company, Listener
from localhub import Store
from zoo import populate as population
from zoo.decoys import decoys


def names(store: Store) -> set[str]:
    return {repo.id for repo in store.repos()}


def test_the_demo_breeds_on_its_own_hub_and_a_second_run_finds_nothing_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its usual port is taken: it takes another."""
    watchlist = tmp_path / "demo.yml"
    watchlist.write_text(json.dumps(SMALL))  # JSON is YAML
    monkeypatch.setattr(demo, "WATCHLIST", watchlist)
    company = Company()
    monkeypatch.setattr(bot.cycle.run, "ProcessPool", company.hire)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(demo, "PORT", taken.getsockname()[1])
        listener = Listener()
        cycle = run_demo(tmp_path / "demo", listener)
        again = run_demo(tmp_path / "demo", listener)
    company.close()
    ledger = Ledger(Home(tmp_path / "demo" / "home").ledger)
    assert listener.said[0].startswith("a Hub with 14 models is up at http://127.0.0.1:")
    assert ledger.cycle(cycle).state is State.PUBLISHED
    assert ledger.cycle(again).state is State.UNCHANGED
    released = {release.repo for release in ledger.releases()}
    assert len(released) == 2 and released <= names(Store(tmp_path / "demo" / "hub"))


def test_what_to_do_next_is_told_as_commands_that_hold_for_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = how_to_read_on(tmp_path / "here", "demo-1")
    commands = [shlex.split(line.partition(":  ")[2]) for line in told.splitlines() if ":  " in line]
    assert [command[1:] for command in commands] == [["hub", "here/hub"], ["show", "demo-1", "--home", "here/home"]]


def test_a_stocking_that_was_interrupted_is_done_again_and_a_stocked_hub_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, genuine = Store(tmp_path), Store.set_likes

    def interrupted(self: Store, repo: str, likes: int) -> None:
        if repo == decoys()[2].name:
            raise KeyboardInterrupt
        genuine(self, repo, likes)

    monkeypatch.setattr(Store, "set_likes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stock_hub(store, NAMESPACE)
    assert store.accounts.empty()
    monkeypatch.setattr(Store, "set_likes", genuine)
    stock_hub(store, NAMESPACE)
    assert names(store) == {repo.name for repo in (*population.models(), *decoys())}
    heads = {name: store.head(name) for name in names(store)}
    stock_hub(store, NAMESPACE)
    assert {name: store.head(name) for name in names(store)} == heads

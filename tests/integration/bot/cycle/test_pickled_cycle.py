"""A whole cycle whose sources are pickled: one converted by shoal, one by the Hub in a pull request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.cycle.past.rebuild import kept_pool
from bot.cycle.run import run_cycle
from bot.home import Home
from bot.ledger.ledger import Ledger, ReleaseEntry, State
from bot.verify_command.verify import Verifier
from fixtures.cycles import BASE, LANGUAGE, MATH, Listener, client, small_watchlist, stock
from fixtures.pickles import open_conversion, with_pickles
from localhub import Running, running

pytestmark = pytest.mark.slow

CYCLE = "pickled-1"
DECOYS = ["oldschool-ml", "copycat"]
"""Whose copies of a source the Hub's hashes do not show to be copies, once one of the two is pickled."""

WATCHLIST = small_watchlist(
    name="pickled",
    watch={"pickles": "convert", "authors": {"deny": DECOYS}},
    search={"budget": {"candidates": 16}},
    publish={"max_releases": 1},
)


@dataclass(frozen=True)
class Finished:
    server: Running
    home: Home
    ledger: Ledger
    said: list[str]
    pull_request: int

    @property
    def release(self) -> ReleaseEntry:
        return self.ledger.releases(CYCLE)[0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("pickled")
    stock(folder / "hub")
    home, listener = Home(folder / "home"), Listener()
    with running(folder / "hub") as server:
        store = server.store
        weights = {name: store.read(name, "model.safetensors") for name in (MATH, LANGUAGE)}
        for name, content in weights.items():
            pickles = with_pickles({"model.safetensors": content})
            store.commit(name, pickles, deleted=["model.safetensors"])
        number, _ = open_conversion(store, LANGUAGE, {"model.safetensors": weights[LANGUAGE]})
        assert run_cycle(WATCHLIST, home, client(server), listener) == CYCLE
        yield Finished(server, home, Ledger(home.ledger), listener.said, number)


def test_the_cycle_merges_what_the_pickles_held(finished: Finished) -> None:
    assert finished.ledger.cycle(CYCLE).state is State.PUBLISHED
    pool = kept_pool(finished.ledger, CYCLE)
    assert {source.repo: source.candidate.pull_request for source in pool.sources} == {
        MATH: None,
        LANGUAGE: finished.pull_request,
    }
    assert pool.base is not None and pool.base.repo == BASE
    (line,) = (line for line in finished.said if "converted to safetensors" in line)
    assert line.startswith(f"{MATH}: its pickled weights were converted to safetensors, by a process that")


def test_the_card_names_both_conversions(finished: Finished) -> None:
    card = (finished.home.release(CYCLE, finished.release.role) / "README.md").read_text()
    sha256 = next(
        file.sha256
        for source in kept_pool(finished.ledger, CYCLE).sources
        for file in source.candidate.weight_files
        if source.repo == MATH
    )
    assert (
        f"The weights of {MATH} were pickled; shoal converted them, from `pytorch_model.bin` (SHA-256 `{sha256}`)"
        in card
    )
    assert f"The weights of {LANGUAGE} were pickled; these are the Hub's own conversion of them, [pull request" in card


def test_anyone_can_verify_the_release_who_lets_pickles_be_converted(finished: Finished, tmp_path: Path) -> None:
    release = f"{finished.release.repo}@{CYCLE}"

    def outcomes(*, convert: bool) -> dict[str, str]:
        hub, home = client(finished.server), Home(tmp_path / "home")
        verifier = Verifier(hub, home, Listener(), items=2, trusted=False, convert_pickles=convert)
        return {check.subject: f"{check.outcome} {check.detail}" for check in verifier.verify(release).checks}

    assert "add --convert-pickles to have them converted" in outcomes(convert=False)["bytes"]
    found = outcomes(convert=True)
    assert found["bytes"].startswith("equal") and found["tensors"].startswith("equal")


def test_the_next_cycle_finds_nothing_new_and_converts_nothing(finished: Finished) -> None:
    listener = Listener()
    cycle = run_cycle(WATCHLIST, finished.home, client(finished.server), listener)
    assert finished.ledger.cycle(cycle).state is State.UNCHANGED
    assert not any("converted to safetensors" in line for line in listener.said)

"""The cycle after a first one: a source has got a new commit, and what was found before is where the search begins."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from safetensors.torch import load, save

from bot.cycle.dry_run import make_plan
from bot.cycle.history import read_cycle
from bot.cycle.run import run_cycle
from bot.home import Home
from bot.ledger.ledger import Ledger
from fixtures import cycles
from fixtures.cycles import (
    BASE,
    LANGUAGE,
    MATH,
    SEARCH,
    Listener,
    SharedWorkers,
    client,
    published,
    run_and_die,
    small_watchlist,
)
from localhub import Running
from merging.recipes.recipe import read_recipe

FIRST, SECOND = "small-1", "small-2"
WATCHLIST = small_watchlist(items={"validation": 60}, publish={"collection": None})


@dataclass(frozen=True)
class Cycles:
    """A first cycle; the Hub's folder and the home as they were before the second; and that one, undisturbed."""

    hub_before: Path
    home_before: Path
    server: Running
    home: Home
    listener: Listener
    planned: str

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.home.ledger)


@pytest.fixture(scope="module")
def workers() -> Iterator[SharedWorkers]:
    workers = SharedWorkers()
    yield workers
    workers.close()


@pytest.fixture(scope="module")
def done(stocked: Path, tmp_path_factory: pytest.TempPathFactory, workers: SharedWorkers) -> Iterator[Cycles]:
    folder = tmp_path_factory.mktemp("two")
    with cycles.copy_of(stocked, folder / "hub") as server:
        home, hub = Home(folder / "home"), client(server)
        assert run_cycle(WATCHLIST, home, hub, Listener(), workers.get) == FIRST
        train_further(server)
        plan = make_plan(hub, WATCHLIST, datetime.now(UTC), measure=lambda *_: None, ledger=Ledger(home.ledger))
        assert plan.recall is not None
        before = tmp_path_factory.mktemp("before")
        shutil.copytree(folder / "hub", before / "hub")
        shutil.copytree(home.folder, before / "home")
        listener = Listener()
        assert run_cycle(WATCHLIST, home, hub, listener, workers.get) == SECOND
        yield Cycles(before / "hub", before / "home", server, home, listener, plan.recall.describe())


def train_further(server: Running) -> None:
    """A new commit of the language model: its differences from the base are a tenth smaller."""
    base, tuned = (load(server.store.read(repo, "model.safetensors")) for repo in (BASE, LANGUAGE))
    weights = {name: (base[name] + 0.9 * (tuned[name] - base[name])).contiguous() for name in tuned}
    server.store.commit(LANGUAGE, {"model.safetensors": save(weights, {"format": "pt"})}, "Train further")


def test_the_earlier_front_is_carried_over_to_the_new_commit_and_everything_says_so(done: Cycles) -> None:
    page = read_cycle(done.ledger, done.home, SECOND)
    found = page.recalled
    assert found is not None and found.cycles == (FIRST,) and found.repeats is None
    assert 1 <= found.carried == found.renewed <= WATCHLIST.search.population / 2 and found.reduced == 0
    # Math and the base are as they were; the language model and every plain merge are not.
    assert found.known_baselines == 2 and found.item_scores == (2 + found.known) * 2 * SEARCH
    lines = found.describe()
    assert lines[0] == (
        f"carried over: {found.carried} of {found.recipes} recipes on the fronts of {FIRST}; "
        f"{found.renewed} with a newer commit of a model"
    )
    assert set(lines) <= set(done.listener.said)
    report = done.home.report(SECOND).read_text()
    assert all(f"- {line}" in report for line in lines)
    assert (
        done.planned == f"{found.carried} of {found.recipes} recipes on the fronts of {FIRST} in the first population"
    )
    assert read_cycle(done.ledger, done.home, FIRST).recalled.describe() == []  # type: ignore[union-attr]


def test_nothing_of_the_second_cycle_reads_the_old_commit(done: Cycles) -> None:
    ledger = done.ledger
    old, new = ({one.repo: one.sha for one in ledger.sources(cycle)} for cycle in (FIRST, SECOND))
    assert old[MATH] == new[MATH] and old[LANGUAGE] != new[LANGUAGE]
    for recipe, _ in ledger.front(SECOND):
        origins = {one.location: one.revision for one in read_recipe(json.loads(ledger.recipe(recipe))).origins}
        assert origins.items() <= new.items()


def test_a_second_cycle_that_was_killed_ends_with_the_same_front_and_releases(
    done: Cycles, tmp_path: Path, workers: SharedWorkers
) -> None:
    home = Home(tmp_path / "home")
    shutil.copytree(done.home_before, home.folder)
    with cycles.copy_of(done.hub_before, tmp_path / "hub") as server:
        run_and_die("in the search", WATCHLIST, home, client(server), workers)
        scored = Ledger(home.ledger).count_evaluations()
        assert Ledger(done.home_before / "ledger.sqlite").count_evaluations() < scored < done.ledger.count_evaluations()
        run_cycle(WATCHLIST, home, client(server), Listener(), workers.get)
        ledger = Ledger(home.ledger)
        assert ledger.front(SECOND) == done.ledger.front(SECOND)
        assert ledger.count_evaluations() == done.ledger.count_evaluations()
        files = [
            {one.role: one.files["model.safetensors"] for one in book.releases(SECOND)}
            for book in (ledger, done.ledger)
        ]
        assert files[0] == files[1] and published(server).keys() == published(done.server).keys()

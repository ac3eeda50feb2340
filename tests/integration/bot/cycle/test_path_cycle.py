"""Cycles that search paths through the results of a search among weight merges, and through the sources alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from bot.cycle.run import run_cycle
from bot.demo import TOKEN
from bot.home import Home
from bot.hub.client import Hub
from bot.hub.resolver import source_folder
from bot.ledger.ledger import Ledger, State
from bot.merge_command.merge import Merger
from bot.search.results import GateResult, SearchSummary
from fixtures.cycles import BASE, LANGUAGE, MATH, Listener, small_watchlist, stock
from localhub import running
from merging.recipes.path import PathRecipe
from merging.recipes.recipe import read_recipe
from merging.sources.checkpoint import Checkpoint
from merging.writing.companions import RECIPE_NAME
from merging.writing.release import write_release

CYCLE = "paths-1"


@dataclass(frozen=True)
class Finished:
    home: Home
    ledger: Ledger
    said: list[str]
    recipes: dict[str, Any]

    @property
    def path(self) -> tuple[str, PathRecipe]:
        """The role and the recipe of the release that is a path."""
        return next(
            (entry.role, recipe)
            for entry in self.ledger.releases(CYCLE)
            if isinstance(recipe := self.recipes[entry.recipe], PathRecipe)
        )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("paths")
    stock(folder / "hub")
    search = {"space": "both", "dataflow": {"max_layers": 4}, "budget": {"candidates": 60}, "seed": 4, "population": 12}
    watchlist = small_watchlist(name="paths", search=search, publish={"mode": "off"})
    home, listener = Home(folder / "home"), Listener()
    with running(folder / "hub") as server:
        assert run_cycle(watchlist, home, Hub(server.endpoint, TOKEN), listener) == CYCLE
    ledger = Ledger(home.ledger)
    gate_results = ledger.kept(CYCLE, "gate", tuple[GateResult, ...]) or ()
    recipes = {
        gate_result.recipe: read_recipe(json.loads(ledger.recipe(gate_result.recipe))) for gate_result in gate_results
    }
    yield Finished(home, ledger, listener.said, recipes)


def test_weight_merges_and_paths_are_on_one_front_and_both_released(finished: Finished) -> None:
    assert finished.ledger.cycle(CYCLE).state is State.WRITTEN
    kinds = {isinstance(finished.recipes[entry.recipe], PathRecipe) for entry in finished.ledger.releases(CYCLE)}
    assert kinds == {True, False}
    summary = finished.ledger.kept(CYCLE, "search", SearchSummary)
    assert summary is not None
    assert summary.candidates == 60
    assert all(len(point) == 2 for point in summary.points)
    assert summary.stopped == (
        "weight merges: the budget of 30 candidates is spent; paths: the budget of 30 candidates is spent"
    )


def test_a_released_path_is_an_ordinary_model_of_another_depth(finished: Finished, tmp_path: Path) -> None:
    role, path = finished.path
    folder = finished.home.release(CYCLE, role)
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False)
    assert model.config.architectures == ["LlamaForCausalLM"]
    assert len(model.model.layers) == len(path.hops)
    provenance = json.loads((folder / "shoal.json").read_text())
    again = read_recipe(provenance["recipe"])
    assert again == path
    sources = finished.home.sources
    checkpoints = {source: Checkpoint.open(source_folder(sources, source)) for source in path.origins}
    config_source = next(one.folder for source, one in checkpoints.items() if source.location == MATH)
    write_release(again, checkpoints, tmp_path / "again", {}, config_source=config_source)
    published, rebuilt = (load_file(at / "model.safetensors") for at in (folder, tmp_path / "again"))
    assert published.keys() == rebuilt.keys()
    assert all(weight.equal(rebuilt[name]) for name, weight in published.items())


def test_the_recipe_of_a_path_has_a_stage_for_each_weight_merge(finished: Finished) -> None:
    role, path = finished.path
    stages = list(yaml.safe_load_all((finished.home.release(CYCLE, role) / RECIPE_NAME).read_text()))
    weight_merges = [part for part in path.parts if not part.is_single]
    assert [stage["merge_method"] for stage in stages] == [*(part.method for part in weight_merges), "passthrough"]
    layers = [source["layer_range"] for one in stages[-1]["slices"] for source in one["sources"]]
    assert [first for first, last in layers if last > first] == [hop.layer for hop in path.hops]


def test_the_card_of_a_path_shows_the_path(finished: Finished) -> None:
    role, path = finished.path
    folder = finished.home.release(CYCLE, role)
    card = (folder / "README.md").read_text()
    assert "path.png" in card
    assert "Between its two stages" in card
    assert (folder / "path.png").read_bytes().startswith(b"\x89PNG")
    for origin in path.origins:
        assert str(origin.revision) in card


def test_shoal_merge_gives_the_bytes_of_a_path_again(finished: Finished, tmp_path: Path) -> None:
    role, _ = finished.path
    folder = finished.home.release(CYCLE, role)
    with running(finished.home.folder.parent / "hub") as server:
        merger = Merger(finished.home, Hub(server.endpoint, TOKEN), Listener())
        merged = merger.merge(folder / RECIPE_NAME, tmp_path / "merged")
    assert f"- `model.safetensors`: `{merged.files['model.safetensors']}`" in (folder / "README.md").read_text()


def test_a_cycle_of_paths_alone_needs_no_base_and_says_whose_layers_it_leaves_out(tmp_path: Path) -> None:
    """And that no path through two small models is worth a release, where each model alone knows half of the answer."""
    stock(tmp_path / "hub")
    watchlist = small_watchlist(
        name="ways",
        watch={"authors": {"allow": ["nobody-at-all"]}},
        pinned=[{"repo": repo} for repo in (MATH, LANGUAGE, BASE)],
        base=None,
        search={
            "space": "dataflow",
            "dataflow": {"models": 2, "smaller": True},
            "budget": {"candidates": 12},
            "population": 6,
        },
        publish={"mode": "off"},
    )
    home, listener = Home(tmp_path / "home"), Listener()
    with running(tmp_path / "hub") as server:
        cycle = run_cycle(watchlist, home, Hub(server.endpoint, TOKEN), listener)
    ledger = Ledger(home.ledger)
    assert ledger.cycle(cycle).state is State.NOTHING
    assert f"the layers of {BASE} are left out; to use them, raise search.dataflow.models" in listener.said
    summary = ledger.kept(cycle, "search", SearchSummary)
    assert summary is not None and summary.candidates == summary.fully_scored == 12
    front = [read_recipe(json.loads(ledger.recipe(digest))) for digest in summary.front]
    assert min(recipe.depth for recipe in front) == 1  # half of the two layers: the least, and so on the front
    baselines = {
        test.baseline
        for gate_result in ledger.kept(cycle, "gate", tuple[GateResult, ...]) or ()
        for test in gate_result.comparisons
    }
    assert baselines == {MATH, LANGUAGE, BASE, "linear mean", "halves stacked"}
    assert home.report(cycle).is_file()

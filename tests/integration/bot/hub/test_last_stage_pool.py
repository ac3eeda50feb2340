"""The adapter that a watchlist names as the last stage: fetched, and in every candidate, or refused by its key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.hub.download import fetch_pool
from bot.hub.pool.find import find_family, take_first
from bot.hub.pool.last_stage import find_last_stage
from bot.hub.pool.pool import NoPool, Pool
from bot.hub.resolver import open_sources
from bot.release.card.recipes import last_stage_facts, recipe_facts
from bot.release.verify import hash_files
from bot.release.write import write_release_folder
from bot.search.baselines import list_baselines
from bot.search.strategies.make import make_strategy
from bot.verify_command.fetch import fetch_sources
from bot.watchlist.watchlist import Watchlist
from fixtures.cycles import Listener
from fixtures.image_pool import BASE, CHALK, TAG, image_card, publish_image_pool
from fixtures.tiny_loras import fused, save_lora
from fixtures.tiny_pipelines import draw
from localhub import Running, running
from merging.kinds import KINDS
from merging.models.transformers_cache import cache_in
from merging.pipelines.weights import open_pipeline
from merging.writing.release import write_release

FAST, CLOSED, ODD, ZERO = "reef/fast", "reef/closed", "reef/odd", "reef/zero"
FILE = "loras/two_steps.safetensors"
SEARCH = {"last_stage": {"adapter": f"{FAST}:{FILE}", "scale": [0.5, 1.5]}, "dtype": "float32", "method": "linear"}
WATCHED = {
    "name": "brush",
    "kind": "image",
    "watch": {"tags": [TAG], "pipeline_tag": "text-to-image"},
    "base": BASE,
    "skills": [{"name": "shapes", "tasks": [{"task": "shapes", "metric": "score"}]}],
    "publish": {"mode": "off"},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("stage")
    found = load_file(save_lora(folder) / "pytorch_lora_weights.safetensors")
    lora = save(found)
    nothing = save({key: torch.zeros_like(one) for key, one in found.items()})
    wide = save({key: one.repeat(2, 1, *[1] * (one.dim() - 2)) for key, one in found.items()})
    repos: dict[str, dict[str, bytes]] = {
        FAST: {FILE: lora, "four_steps.safetensors": lora, "eight_steps.safetensors": lora},
        CLOSED: {"closed.safetensors": lora},
        ODD: {"odd.safetensors": wide},
        ZERO: {"zero.safetensors": nothing},
    }
    with running(folder / "hub") as server, cache_in(folder / "cache"):
        publish_image_pool(server.store)
        for repo, files in repos.items():
            licence = {"license": "cc-by-nc-4.0"} if repo == CLOSED else {}
            card = image_card(repo, tags=["lora"], **licence)
            server.store.commit(repo, {**files, "README.md": card, "LICENSE": b"terms"})
        yield server


def make_watchlist(search: dict[str, object]) -> Watchlist:
    return Watchlist.model_validate_json(json.dumps(WATCHED | {"search": SEARCH | search}))


def hub_of(server: Running) -> Hub:
    return Hub(server.endpoint, None, sleep=lambda _: None)


@pytest.fixture(scope="module")
def pool(server: Running) -> Pool:
    hub, watchlist = hub_of(server), make_watchlist({})
    return take_first(hub, watchlist, find_family(hub, watchlist, datetime.now(UTC)))


def test_a_named_adapter_is_fetched_alone_and_added_to_every_candidate(
    server: Running, pool: Pool, tmp_path: Path
) -> None:
    staged = pool.staged
    assert staged is not None and staged.ref.plain == pool.carrier and pool.leader.repo == CHALK
    assert staged.ref.adapter is not None and (staged.ref.adapter.location, staged.ref.adapter.file) == (FAST, FILE)
    reasons = {verdict.repo: verdict.reason for verdict in pool.verdicts if verdict.accepted}
    assert reasons[FAST] == f"the last stage: an adapter ({FILE}) that is added to merges, openrail++"
    fetched = fetch_pool(hub_of(server), pool, tmp_path / "sources")
    there = fetched.folders[staged.ref.adapter]
    files = {path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file()}
    assert not fetched.refused and files == {FILE, "LICENSE", "shoal-source.json"}
    (added,) = (tmp_path / "sources").glob("*/*.of.*.on.*/*.safetensors")  # what it adds is stored, for all candidates
    assert 0 < staged.difference_bytes <= added.stat().st_size < staged.difference_bytes * 1.1 + 2**14

    strategy = make_strategy(make_watchlist({}), pool)
    names = {baseline.name for baseline in list_baselines(strategy, pool)}
    assert {CHALK, f"{CHALK}, then {FAST}", f"linear mean, then {FAST}"} < names
    genome = next(strategy.weight_merges.random_genomes(np.random.default_rng(3)))
    (recipe,) = strategy.weight_merges.decode(genome).parts
    assert recipe.last_stage is not None and recipe.last_stage.adapted == staged.ref
    for name, one in {"release": recipe, "plain": replace(recipe, last_stage=None)}.items():
        write_release_folder(one, fetched.folders, pool.leader.ref, tmp_path / name, "cycle-1")
    weights = open_sources(recipe.origins, fetched.folders)
    live = KINDS["image"].live(fetched.folders[pool.leader.ref], weights, dtype="float32")
    assert np.array_equal(draw(recipe.live_model(live)), draw(KINDS["image"].load(tmp_path / "release")))
    found = open_pipeline(tmp_path / "release")
    for name, weight in fused(tmp_path / "plain", there / FILE, recipe.last_stage.scale).items():
        torch.testing.assert_close(found.tensor(name), weight, rtol=1e-5, atol=1e-6)
    assert [path.name for path in (tmp_path / "release").iterdir() if "fast" in path.name and "LICENSE" in path.name]

    # What `shoal verify` does with the recipe alone, in another home.
    folders, problem = fetch_sources(
        hub_of(server), Home(tmp_path / "other"), {*recipe.origins, pool.leader.ref}, Listener()
    )
    assert problem is None and folders[staged.ref.adapter] != there
    write_release(
        recipe, open_sources(recipe.origins, folders), tmp_path / "again", {}, config_source=folders[pool.leader.ref]
    )
    assert hash_files(tmp_path / "again").items() <= hash_files(tmp_path / "release").items()

    facts, source = recipe_facts(recipe, pool, ""), last_stage_facts(recipe, pool)
    shown = facts.weight_merges[0].last_stage
    assert shown is not None and (shown.repo, shown.file, shown.scale) == (FAST, FILE, recipe.last_stage.scale)
    assert source is not None and (source.repo, source.licence) == (FAST, "openrail++")


_SEVERAL = (
    r"it has several LoRAs \(eight_steps.safetensors, four_steps.safetensors\): name one after a colon, as in …:e"
)


@pytest.mark.parametrize(
    ("stage", "reason"),
    [
        ({"adapter": "reef/gone"}, r"search.last_stage.adapter: reef/gone"),
        ({"adapter": FAST}, rf"search.last_stage: got 'reef/fast': {_SEVERAL}"),
        (
            {"adapter": {"repo": FAST, "file": "x.safetensors"}},
            r"last_stage: got 'reef/fast': it has no file x.safetensors, but ",
        ),
        (
            {"adapter": CLOSED},
            r"last_stage: got 'reef/closed': it has the licence cc-by-nc-4.0, and noncommercial is not",
        ),
        ({"adapter": ODD}, r"last_stage: got 'reef/odd': its odd.safetensors: .*: this LoRA is for another base"),
    ],
)
def test_an_adapter_that_cannot_be_used_stops_the_cycle_by_its_key(
    server: Running, pool: Pool, stage: dict[str, object], reason: str
) -> None:
    with pytest.raises(ShoalError, match=reason):
        find_last_stage(hub_of(server), make_watchlist({"last_stage": stage}), pool.leader, datetime.now(UTC))


def test_an_adapter_that_turns_out_to_change_nothing_stops_the_cycle(
    server: Running, pool: Pool, tmp_path: Path
) -> None:
    watchlist = make_watchlist({"last_stage": {"adapter": ZERO}})
    pool = replace(pool, last_stage=find_last_stage(hub_of(server), watchlist, pool.leader, datetime.now(UTC)))
    with pytest.raises(NoPool, match=r"search.last_stage.adapter: got 'reef/zero': damaged: .* it changes nothing"):
        fetch_pool(hub_of(server), pool, tmp_path)

"""Pools of image generators: who is the carrier, what is fetched of each, and who is refused before any download."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.hub.client import Hub
from bot.hub.download import fetch_pool
from bot.hub.pool.find import find_family, take_first
from bot.hub.pool.pool import Pool
from bot.hub.resolver import open_sources
from bot.search.strategies.make import make_strategy
from bot.watchlist.watchlist import Watchlist
from fixtures.image_pool import BASE, CHALK, INK, OIL, TAG, publish_image_pool
from localhub import Running, running
from merging.models.transformers_cache import cache_in
from merging.partition import Whole

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
    folder = tmp_path_factory.mktemp("brush")
    with running(folder / "hub") as server, cache_in(folder / "cache"):
        publish_image_pool(server.store)
        yield server


def make_watchlist(**changes: object) -> Watchlist:
    return Watchlist.model_validate_json(json.dumps(WATCHED | changes))


def find(server: Running, **changes: object) -> Pool:
    hub, watchlist = Hub(server.endpoint, None, sleep=lambda _: None), make_watchlist(**changes)
    pool = take_first(hub, watchlist, find_family(hub, watchlist, datetime.now(UTC)))
    make_strategy(watchlist, pool)
    return pool


def test_a_pool_of_pipelines_is_found_fetched_and_opened(server: Running, tmp_path: Path) -> None:
    pool = find(server)
    verdicts = {verdict.repo: verdict.reason for verdict in pool.verdicts if verdict.accepted}
    assert verdicts.keys() == {OIL, CHALK, INK} and pool.licence.id == "openrail++"
    assert pool.carrier == pool.leader.ref == pool.sources[0].ref and pool.leader.repo == CHALK
    assert verdicts[CHALK].endswith("; the carrier: merges have its settings and its own other components")
    assert pool.layers == 5  # down, down, mid, up, up
    strategy = make_strategy(make_watchlist(), pool)
    used = {one.name: one.use for one in strategy.weight_merges.groups.components}
    assert used["VAE"] == used["text encoder"] == Whole(pool.carrier) and "denoiser" in used
    fetched = fetch_pool(Hub(server.endpoint, None, sleep=lambda _: None), pool, tmp_path)
    assert not fetched.refused
    weights = open_sources([member.ref for member in pool.members], fetched.folders)
    for member in pool.members:
        assert dict(weights[member.ref].headers) == dict(member.headers)
        there = {path.relative_to(weights[member.ref].folder).as_posix() for path in _files(weights[member.ref].folder)}
        assert there - {"shoal-source.json"} == {file.path for file in member.candidate.wanted_files}
        assert {"model_index.json", "unet/config.json", "scheduler/scheduler_config.json"} < there


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]

"""Pools of vision-language models: who is the carrier, who is merged into it, and who is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.cycle.audition import role_of
from bot.errors import ShoalError
from bot.hub.client import Hub
from bot.hub.inspection.mismatch import find_mismatch, note_differences
from bot.hub.inspection.processor import processor_differences, read_processor
from bot.hub.pool.carrier import check_picture_size
from bot.hub.pool.find import find_family, take_first
from bot.hub.pool.pool import Pool
from bot.search.strategies.make import make_strategy
from bot.watchlist.load import UnfitValueError
from bot.watchlist.watchlist import Watchlist
from fixtures.small_repos import card, files
from fixtures.vision_pool import BASE, EYE, LENS, TONGUE, publish_vision_pool
from localhub import Running, running
from merging.models.transformers_cache import cache_in

WATCHED = {
    "name": "sight",
    "kind": "vision-language",
    "watch": {
        "tags": ["seeing"],
        "pipeline_tag": "image-text-to-text",
        "language_models": {"tags": ["reading"]},
    },
    "base": BASE,
    "skills": [{"name": "see", "tasks": [{"task": "see", "metric": "acc"}]}],
    "publish": {"mode": "off"},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("sight")
    with running(folder / "hub") as server, cache_in(folder / "cache"):
        publish_vision_pool(server.store)
        yield server


@pytest.fixture(scope="module")
def pool(server: Running) -> Pool:
    return find(server)


def make_watchlist(**changes: object) -> Watchlist:
    return Watchlist.model_validate_json(json.dumps(WATCHED | changes))


def find(server: Running, **changes: object) -> Pool:
    hub, watchlist = Hub(server.endpoint, None, sleep=lambda _: None), make_watchlist(**changes)
    pool = take_first(hub, watchlist, find_family(hub, watchlist, datetime.now(UTC)))
    make_strategy(watchlist, pool)
    return pool


def read_files(server: Running, repo: str, folder: Path) -> dict[str, bytes]:
    hub = Hub(server.endpoint, None, sleep=lambda _: None)
    names = hub.api.list_repo_files(repo)
    return {name: hub.download(repo, "main", name, folder).read_bytes() for name in names if not name.startswith(".")}


@pytest.mark.parametrize(
    ("changes", "carrier", "sources"),
    [
        ({"carrier": LENS}, LENS, [LENS, EYE, TONGUE]),
        ({"base": LENS}, EYE, [EYE, BASE, TONGUE]),  # language models beside differences from a base that sees
        ({"base": LENS, "carrier": LENS}, LENS, [EYE, BASE, TONGUE]),
    ],
)
def test_the_carrier_is_the_one_named_or_the_first_that_sees(
    server: Running, pool: Pool, changes: dict[str, object], carrier: str, sources: list[str]
) -> None:
    first = (pool, EYE, [EYE, LENS, TONGUE])  # by rank, of those that see
    for found, leader, expected in (first, (find(server, **changes), carrier, sources)):
        assert found.carrier is not None and (found.carrier.location, found.leader.repo) == (leader, leader)
        assert sorted(source.repo for source in found.sources) == sorted(expected)
        assert leader not in expected or found.sources[0].repo == leader
        roles = {member.repo: role_of(found, member) for member in found.members}
        base = {found.base.repo: "base"} if found.base else {}
        assert roles == dict.fromkeys(expected, "candidate") | {leader: "carrier"} | base


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"carrier": TONGUE}, f"carrier: got '{TONGUE}': it is not of kind vision-language; name another carrier"),
        ({"carrier": "reef/nobody"}, "carrier: got 'reef/nobody': not on the Hub, or private; check its name"),
        ({"carrier": f"{EYE}@nope"}, f"carrier: got '{EYE}@nope': the Hub has no such revision; check its name"),
        (
            {"carrier": {"repo": EYE, "licence": "mit"}},
            f"carrier: got '{EYE}': its card declares the licence 'apache-2.0', not mit; remove carrier.licence",
        ),
    ],
)
def test_a_carrier_that_cannot_be_one_stops_the_cycle(server: Running, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ShoalError) as stopped:
        find(server, **changes)
    assert str(stopped.value).startswith(words)


@pytest.mark.parametrize(
    ("components", "words"),
    [
        ({"vision tower": "merge"}, f"got merge: the base {BASE} has none, and task_arithmetic needs it; write keep"),
        ({"ears": "keep"}, "the models have no such component; write vision tower or projector"),
    ],
)
def test_a_component_that_cannot_be_merged_is_named(pool: Pool, components: dict[str, str], words: str) -> None:
    with pytest.raises(UnfitValueError) as unfit:
        make_strategy(make_watchlist(search={"components": components}), pool)
    assert words in str(unfit.value)


def test_a_size_of_pictures_that_the_carrier_cannot_take_is_named(server: Running, pool: Pool) -> None:
    hub = Hub(server.endpoint, None, sleep=lambda _: None)
    check_picture_size(hub, make_watchlist(picture_size=16), pool)
    with pytest.raises(UnfitValueError) as unfit:
        check_picture_size(hub, make_watchlist(picture_size=32), pool)
    assert str(unfit.value) == (
        f"picture_size: got 32: {EYE}: its vision tower sees pictures of 16 × 16 pixels and no others; remove the key"
    )


def test_whoever_does_not_fit_the_carrier_is_refused_before_any_download(server: Running, tmp_path: Path) -> None:
    reading, seeing = (read_files(server, repo, tmp_path / repo) for repo in (TONGUE, EYE))

    def changed(own: dict[str, bytes], name: str, **keys: object) -> dict[str, bytes]:
        return own | {name: json.dumps(json.loads(own[name]) | keys).encode()}

    warm = {"rope_type": "default", "rope_theta": 5000.0}
    inside = json.loads(seeing["config.json"])["text_config"]
    mistral = {"model_type": "mistral", "architectures": ["MistralForCausalLM"]}
    odd = {
        "reef/warm": changed(reading, "config.json", rope_parameters=warm),
        "reef/warm-eye": changed(seeing, "config.json", text_config=inside | {"rope_parameters": warm}),
        "reef/near": changed(reading, "config.json", **mistral, sliding_window=8),
        "reef/wide": changed(reading, "config.json", hidden_size=32, head_dim=8),
        "reef/foreign": changed(reading, "config.json", model_type="qwen2", architectures=["Qwen2ForCausalLM"]),
        "reef/narrow": files(1) | {"README.md": card(tags=("reading",)).encode()},
        "reef/coded": changed(seeing, "processor_config.json", image_processor={"auto_map": {"AutoProcessor": "x.Y"}}),
        "reef/blind": {name: content for name, content in seeing.items() if name != "processor_config.json"},
    }
    words = json.loads(reading["tokenizer.json"])
    words["model"]["vocab"] = dict(
        zip(words["model"]["vocab"], reversed(words["model"]["vocab"].values()), strict=True)
    )
    odd["reef/babel"] = reading | {"tokenizer.json": json.dumps(words).encode()}
    for repo, content in odd.items():
        server.store.commit(repo, content)
    reasons = {verdict.repo: verdict.reason for verdict in find(server).verdicts if not verdict.accepted}
    family = f"not of the family of {EYE}: "
    assert reasons == {
        BASE: "it is the base of the others",
        "reef/warm": f"{family}its config says rope_parameters.rope_theta 5000.0, not 10000.0",
        "reef/warm-eye": f"{family}its config says text_config.rope_parameters.rope_theta 5000.0, not 10000.0",
        "reef/near": f"{family}its config says sliding_window 8, not None",
        "reef/wide": f"{family}its config says hidden_size 32, not 16",
        "reef/foreign": f"{family}its config says model_type 'qwen2', not 'llama'",
        "reef/narrow": f"{family}its config says head_dim 4, not 8",
        "reef/coded": "it needs custom code (auto_map in its processor_config.json)",
        "reef/blind": "it has neither processor_config.json nor preprocessor_config.json",
        "reef/babel": f"{family}its tokenizer is not that of {EYE}: another vocabulary",
    }
    plain = {"kind": "language", "watch": {"tags": ["seeing"], "pipeline_tag": None}}
    with pytest.raises(ShoalError, match=f"{EYE}: its architecture LlavaForConditionalGeneration is not a causal"):
        find(server, **plain)


def test_a_language_model_may_have_added_tokens_of_its_own(pool: Pool) -> None:
    """Rows are matched by token, so that the tokens of conversations do not keep a model out."""
    (inside,) = (source for source in pool.sources if source.repo == TONGUE)
    assert inside.tokenizer is not None and inside.tokenizer.added
    added = dict.fromkeys(inside.tokenizer.added, "<turn>") | {1000: "<end of turn>"}
    talking = replace(inside, tokenizer=replace(inside.tokenizer, added=added, height=1001))
    assert find_mismatch(pool.leader, talking) is None
    other = replace(inside, tokenizer=replace(inside.tokenizer, parts=dict.fromkeys(inside.tokenizer.parts, "other")))
    assert find_mismatch(pool.leader, other) == f"its tokenizer is not that of {EYE}: another vocabulary"


def test_a_processor_that_prepares_pictures_otherwise_is_noted(pool: Pool) -> None:
    """Sources are shown pictures as the carrier is, whatever they were trained on."""
    eye, lens, tongue = (next(one for one in pool.sources if one.repo == repo) for repo in (EYE, LENS, TONGUE))
    assert lens.processor["crop_size.height"] == 16 and not tongue.processor
    assert note_differences(eye, lens) is None and note_differences(eye, tongue) is None
    larger = replace(lens, processor={**lens.processor, "crop_size.height": 32})
    assert note_differences(eye, larger) == f"its processor says crop_size.height 32, not 16: merges follow {EYE}"
    # Older files have the settings of pictures apart, and newer ones inside those of the whole processor.
    apart, inside = {"size": {"height": 32}}, {"image_processor": {"size": {"height": 32}}, "image_token": "<image>"}
    assert processor_differences(read_processor(apart), read_processor(inside)) == []

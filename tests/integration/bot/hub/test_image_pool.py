"""Pools of image generators: who is the carrier, what is fetched of each, and who is refused before any download."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load, save
from tokenizers import Tokenizer

from bot.cycle import sources
from bot.cycle.dry_run import make_plan
from bot.cycle.probe import timing
from bot.cycle.probe.measure import measure_speed
from bot.cycle.run import run_cycle
from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.hub.discovery.candidate import Verdict
from bot.hub.discovery.meant_files import with_meant_files
from bot.hub.discovery.rules import first_refusal
from bot.hub.download import IN_FILE, Fetched, fetch_pool
from bot.hub.pool.find import find_family, take_first
from bot.hub.pool.pool import Pool
from bot.hub.resolver import Resolver, differences_folder, open_sources
from bot.ledger.ledger import Ledger
from bot.release.write import write_release_folder
from bot.scoring.resources import Resources
from bot.search.strategies.make import make_strategy
from bot.watchlist.watchlist import Watchlist
from evaluation.errors import EvaluationError
from evaluation.splits import Split
from evaluation.suites import SUITES
from fixtures.cycles import Listener
from fixtures.image_pool import (
    BASE,
    CHALK,
    FAMILY,
    INK,
    OIL,
    TAG,
    image_card,
    make_pipelines,
    pipeline_files,
    publish_image_pool,
    publish_pipeline,
    vary,
    write_image_tasks,
)
from fixtures.ldm_files import save_single_file
from fixtures.picture_tasks import write_picture_task
from fixtures.tiny_loras import fused, kohya, save_lora
from fixtures.tiny_painters import clip_text, vae, word_tokenizer
from fixtures.tiny_pipelines import draw, make_source
from localhub import Running, running
from merging.identity import ModelId
from merging.kinds import KINDS
from merging.models.transformers_cache import cache_in
from merging.partition import Whole
from merging.pipelines.lora_files import USUAL_LORA

VAE_FILE = "vae/diffusion_pytorch_model.safetensors"
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


@pytest.fixture(scope="module")
def plain(server: Running) -> Pool:
    """What is found while nothing but the pool is there."""
    return find(server)


def test_a_pool_of_pipelines_is_found_fetched_and_opened(server: Running, plain: Pool, tmp_path: Path) -> None:
    pool = plain
    verdicts = {verdict.repo: verdict.reason for verdict in pool.verdicts if verdict.accepted}
    assert verdicts.keys() == {OIL, CHALK, INK} and pool.licence.id == "openrail++"
    assert pool.carrier == pool.leader.ref == pool.sources[0].ref and pool.leader.repo == CHALK
    assert verdicts[CHALK].endswith("; the carrier: merges have its settings and its own other components")
    assert pool.layers == 5  # down, down, mid, up, up
    strategy = make_strategy(make_watchlist(), pool)
    chosen = make_strategy(make_watchlist(search={"components": {"text encoder": "choose"}}), pool)
    encoder = sum(math.prod(one.shape) for name, one in pool.leader.headers.items() if name.startswith("text_encoder."))
    assert strategy.candidate_bytes(pool, "float32", "cpu") == 4 * pool.parameters
    assert chosen.candidate_bytes(pool, "float32", "cpu") == 4 * (pool.parameters + 2 * encoder)  # two stay in memory
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


@pytest.fixture(scope="module")
def sound() -> dict[str, bytes]:
    """The files of a pipeline that fits."""
    files = pipeline_files(vary_pipeline(7))
    return files | {"README.md": image_card("reef/any")}


def vary_pipeline(seed: int, **components: object) -> Any:
    base = make_pipelines()[BASE]
    parts = {**base.components, "unet": vary(base.unet, seed, 0.3), **components}
    return type(base)(**parts, requires_safety_checker=False)


Odd = Mapping[str, tuple[Mapping[str, bytes], str]]


@pytest.fixture(scope="module")
def odd(sound: dict[str, bytes]) -> Odd:
    """Name → the files of a pipeline that cannot be merged, and how the reason begins."""
    unet = "unet/diffusion_pytorch_model"

    def changed(path: str, **keys: object) -> dict[str, bytes]:
        return sound | {path: json.dumps(json.loads(sound[path]) | keys).encode()}

    def without(*paths: str) -> dict[str, bytes]:
        return {path: content for path, content in sound.items() if not path.startswith(paths)}

    plain = load(sound[f"{unet}.safetensors"])
    first, *_ = sorted(plain)
    family = f"not of the family of {CHALK}: "
    return {
        "lame": (without("vae/"), "it lacks its component vae: model_index.json lists it, and no file of it is there"),
        "bare": (without("vae/config.json"), "its component vae has no config.json"),
        "mute": (without("tokenizer/tokenizer.json"), "its tokenizer has none of tokenizer.json, vocab.json, spiece."),
        "blind": (changed("model_index.json", vae=[None, None]), "it lacks its component vae: model_index.json does"),
        "pickled": (
            without(unet) | {f"{unet}.bin": b"pickle"},
            "its component unet has pickled weights alone (diffusion_pytorch_model.bin)",
        ),
        "mixed": (
            without(unet) | {f"{unet}-00001-of-00002.safetensors": b"", f"{unet}.fp16-00002-of-00002.safetensors": b""},
            "its component unet mixes files of several variants (plain, fp16), and none is complete",
        ),
        "coded": (
            changed("model_index.json", _class_name=["pipeline", "Mine"]),
            "it needs custom code (its pipeline is pipeline.Mine)",
        ),
        "foreign": (
            changed("model_index.json", unet=["my_unet", "Mine"]),
            "its component unet is my_unet.Mine, not a class of diffusers or transformers",
        ),
        "pointing": (
            changed("unet/config.json", auto_map={"AutoModel": "x.Y"}),
            "it needs custom code (auto_map in its unet/config.json)",
        ),
        "torn": (
            sound | {f"{unet}.safetensors": save({name: one for name, one in plain.items() if name != first})},
            f"it has no tensor unet.{first}, which its config's unet has",
        ),
        "broken": (sound | {"model_index.json": b"[]"}, "listed, but its model_index.json: cannot be read as a JSON"),
        "guessing": (
            changed("scheduler/scheduler_config.json", prediction_type="v_prediction"),
            f"{family}its scheduler.prediction_type is v_prediction, not epsilon",
        ),
        "deep": (pipeline_files(vary_pipeline(3, vae=vae(8))), f"{family}its vae.latent_channels is 8, not 4"),
        "wide": (
            pipeline_files(vary_pipeline(4, text_encoder=clip_text(width=32))),
            f"{family}its text_encoder.hidden_size is 32, not 16",
        ),
        "larger": (
            pipeline_files(make_source("StableDiffusionXLPipeline", 5)),
            f"{family}its pipeline is StableDiffusionXLPipeline, not StableDiffusionPipeline",
        ),
    }


BESIDE = b"never fetched"


@pytest.fixture(scope="module")
def crowded(
    server: Running, sound: dict[str, bytes], odd: Odd, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Pool, Fetched[Pool]]:
    """What is found and fetched when sound pipelines with more files than needed, and odd ones, are there too."""
    clutter = {
        "unet/diffusion_pytorch_model.fp16.safetensors": BESIDE,
        "unet/diffusion_pytorch_model.bin": BESIDE,
        "text_encoder/model.onnx": BESIDE,
        "vae_1_0/config.json": b"{}",
        "vae_1_0/diffusion_pytorch_model.safetensors": BESIDE,
        "reef-cluttered.safetensors": BESIDE,
        "model.safetensors": BESIDE,
        "LICENSE.md": b"Use restrictions",
    }
    server.store.commit("reef/cluttered", sound | clutter)
    rounded = pipeline_files(vary_pipeline(8), variant="fp16", max_shard_size="20KB")
    assert "unet/diffusion_pytorch_model.safetensors.index.fp16.json" in rounded
    server.store.commit("reef/sharded", rounded | {"README.md": image_card("reef/sharded")})
    other_vae = {VAE_FILE: pipeline_files(make_source(FAMILY, 9))[VAE_FILE]}
    server.store.commit("reef/repainted", sound | other_vae)
    for name, (files, _) in odd.items():
        server.store.commit(f"reef/{name}", {**files, "README.md": image_card(f"reef/{name}")})
    pool = find(server, max_sources=8)
    folder = tmp_path_factory.mktemp("crowded")
    fetched = fetch_pool(Hub(server.endpoint, None, sleep=lambda _: None), pool, folder)
    for name in ("cluttered", "sharded", "repainted", *odd):
        server.store.delete_repo(f"reef/{name}")
    return pool, fetched


def test_of_each_component_the_weights_of_one_variant_are_fetched(
    crowded: tuple[Pool, Fetched[Pool]], sound: dict[str, bytes]
) -> None:
    """Neither rounded copies beside them, nor checkpoints in one file, other formats or unlisted components."""
    pool, fetched = crowded
    unet = sound["unet/diffusion_pytorch_model.safetensors"]
    by_repo = {member.repo: member for member in pool.members}
    wanted = {file.path for file in by_repo["reef/cluttered"].candidate.wanted_files}
    assert wanted == (sound.keys() | {"LICENSE.md"}) - {"README.md"}
    folder = fetched.folders[by_repo["reef/cluttered"].ref]
    assert (folder / "unet/diffusion_pytorch_model.safetensors").read_bytes() == unet
    assert BESIDE not in {path.read_bytes() for path in _files(folder)}
    sharded = by_repo["reef/sharded"]
    assert sharded.headers.keys() == by_repo[BASE].headers.keys() and not fetched.refused
    weights = open_sources([sharded.ref], fetched.folders)[sharded.ref]
    assert dict(weights.headers) == dict(sharded.headers)


def test_a_pipeline_that_cannot_be_merged_is_refused_before_any_download(
    crowded: tuple[Pool, Fetched[Pool]], odd: Odd
) -> None:
    pool, _ = crowded
    reasons = {verdict.repo: verdict.reason for verdict in pool.verdicts if not verdict.accepted}
    assert reasons.pop(BASE) == "it is the base of the others"
    assert reasons.pop("reef/repainted") == "it has the same weights as reef/cluttered"
    assert reasons.keys() == {f"reef/{name}" for name in odd}
    for name, (_, reason) in odd.items():
        assert reasons[f"reef/{name}"].startswith(reason), name
        assert "\n" not in reasons[f"reef/{name}"]


def test_text_encoders_that_are_merged_read_the_same_tokens(server: Running, sound: dict[str, bytes]) -> None:
    """One that is taken whole comes with its own tokenizer; names and buffers of older versions change nothing."""
    weights = load(sound["text_encoder/model.safetensors"])
    older = {f"text_model.{name}": one for name, one in weights.items()}
    older["text_model.embeddings.position_ids"] = torch.arange(8)[None]
    server.store.commit("reef/older", sound | {"text_encoder/model.safetensors": save(older)})
    words = word_tokenizer()
    other = type(words)(
        tokenizer_object=_reversed(words.backend_tokenizer),
        **{"pad_token": "<pad>", "bos_token": "<start>", "eos_token": "<end>", "unk_token": "<unk>"},
        model_max_length=words.model_max_length,
    )
    own = DDIMScheduler(steps_offset=1, clip_sample=False, timestep_spacing="trailing")
    publish_pipeline(server.store, "reef/polyglot", vary_pipeline(6, tokenizer=other, scheduler=own))
    for use, fits in (("choose", True), ("merge", False)):
        pool = find(server, max_sources=8, search={"components": {"text encoder": use}})
        verdict = next(one for one in pool.verdicts if one.repo == "reef/polyglot")
        assert verdict.accepted is fits
        noted = f"its scheduler says timestep_spacing 'trailing', not 'leading': merges follow {pool.leader.repo}"
        assert (noted in verdict.reason) is fits
        assert any(source.repo == "reef/older" for source in pool.sources)
    difference = f"the tokenizer of its text encoder is not that of {pool.leader.repo}: another vocabulary"
    assert verdict.reason == f"not of the family of {pool.leader.repo}: {difference}"
    for repo in ("reef/polyglot", "reef/older"):
        server.store.delete_repo(repo)


def _reversed(backend: Tokenizer) -> Tokenizer:
    content = json.loads(backend.to_str())
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = dict(zip(vocabulary, reversed(vocabulary.values()), strict=True))
    return Tokenizer.from_str(json.dumps(content))


def test_loras_of_diffusers_and_kohya_are_sources_on_the_base_that_their_cards_name(
    server: Running, tmp_path: Path
) -> None:
    saved = save_lora(tmp_path / "lora")
    diffusers = (saved / USUAL_LORA).read_bytes()
    tensors = load(diffusers)
    unet = kohya(saved, tmp_path).read_bytes()
    text = {key: one for key, one in tensors.items() if key.startswith("text_encoder")}
    wide = {key: one.repeat(2, 1, *[1] * (one.dim() - 2)) for key, one in tensors.items()}
    family = f"not of the family of {CHALK}: "
    loras: dict[str, tuple[dict[str, bytes], dict[str, object], str]] = {
        "glaze": ({USUAL_LORA: diffusers, "glaze.png": b""}, {}, "taken"),
        "wash": ({"wash.safetensors": unet}, {"base_model": INK}, "taken"),
        "words": ({USUAL_LORA: save(text)}, {}, f"{family}its LoRA changes the text encoder alone, which merges take"),
        "many": (
            {"two.safetensors": unet, "four.safetensors": unet},
            {},
            "it is an adapter: one LoRA in safetensors is needed, and it has four.safetensors, two.safetensors; "
            "pin one, as in reef/many:four.safetensors",
        ),
        "old": (
            {"old.ckpt": b""},
            {},
            "it is an adapter: one LoRA in safetensors is needed, and it has old.ckpt",
        ),
        "misfit": ({"misfit.safetensors": save(wide)}, {}, "its misfit.safetensors: module text_encoder"),
        "orphan": (
            {"orphan.safetensors": unet},
            {"base_model": "reef/gone"},
            "its base reef/gone cannot be seen on the Hub",
        ),
        "silent": ({USUAL_LORA: unet}, {"base_model": []}, "its card names no base (base_model)"),
    }
    for name, (files, about, _) in loras.items():
        server.store.commit(
            f"reef/{name}", files | {"README.md": image_card(f"reef/{name}", tags=[TAG, "lora"], **about)}
        )
    pool = find(server, max_sources=8)
    verdicts = {verdict.repo: verdict for verdict in pool.verdicts}
    for name, (_, _, reason) in loras.items():
        verdict = verdicts[f"reef/{name}"]
        assert verdict.accepted if reason == "taken" else verdict.reason.startswith(reason), verdict
    assert verdicts["reef/glaze"].reason.startswith(
        f"an adapter ({USUAL_LORA}) on {BASE} that changes the denoiser and the text encod"
    )
    assert verdicts["reef/wash"].reason.startswith(f"an adapter (wash.safetensors) on {INK} that changes the denois")
    glaze, wash = (next(one for one in pool.sources if one.repo == f"reef/{name}") for name in ("glaze", "wash"))
    assert (glaze.ref.location, wash.ref.location) == (BASE, INK)
    assert pool.leader.repo == CHALK
    fetched = fetch_pool(Hub(server.endpoint, None, sleep=lambda _: None), pool, tmp_path / "sources")
    assert not fetched.refused
    for member in (glaze, wash):  # in the forms of diffusers and of kohya
        assert member.ref.adapter is not None
        folder = differences_folder(fetched.folders[member.ref.adapter], member.ref.plain)
        stored = load(next(folder.glob("*.safetensors")).read_bytes())
        assert sum(one.nbytes for one in stored.values()) == member.difference_bytes > 0
    again = Resolver(Hub(server.endpoint, None, sleep=lambda _: None), tmp_path).find_weights(glaze.ref)
    assert again == glaze.remotes
    weights = open_sources([glaze.ref, wash.ref], fetched.folders)
    for member, place in ((glaze, saved), (wash, tmp_path / "style.safetensors")):
        for name, weight in fused(fetched.folders[member.ref], place).items():
            torch.testing.assert_close(weights[member.ref].tensor(name).float(), weight, rtol=1e-5, atol=1e-6)
    chosen = find(server, max_sources=8, pinned=["reef/silent"], search={"components": {"text encoder": "choose"}})
    reasons = {verdict.repo: verdict.reason for verdict in chosen.verdicts}
    assert "its LoRA changes the text encoder, which is taken whole" in reasons["reef/glaze"]
    # Whoever pins a LoRA whose card names no base means the pool's.
    assert any(source.repo == "reef/silent" and source.ref.location == BASE for source in chosen.sources)
    unwanted = make_watchlist(watch={**WATCHED["watch"], "adapters": False})
    found = with_meant_files(glaze.candidate, unwanted.kind)
    assert first_refusal(found, unwanted, datetime.now(UTC)) == "it is an adapter, and watch.adapters is false"
    for name in loras:
        server.store.delete_repo(f"reef/{name}")


@pytest.fixture
def parts(server: Running, tmp_path: Path) -> Iterator[Mapping[str, tuple[Any, str]]]:
    """Name → a pipeline of which a part is published, or None, and the verdict's beginning or end."""
    lone, nested, single, bare = (vary_pipeline(seed) for seed in (11, 12, 13, 14))
    talking = vary_pipeline(15, text_encoder=clip_text(width=32))  # which no one would read without its config
    unet = {path.removeprefix("unet/"): one for path, one in pipeline_files(lone).items() if path.startswith("unet/")}
    config, weights = json.loads(unet["config.json"]), "diffusion_pytorch_model.safetensors"
    tensors, wide = load(unet[weights]), UNet2DConditionModel.from_config(config | {"cross_attention_dim": 32})
    painter = {path: one for path, one in pipeline_files(nested).items() if path.startswith("vae/")}

    def in_one_file(pipeline: Any) -> bytes:
        return save_single_file(pipeline, tmp_path / "one.safetensors").read_bytes()

    family, one = f"not of the family of {CHALK}: ", in_one_file(single)
    found: dict[str, tuple[Any, dict[str, bytes], str]] = {
        "lone": (lone, unet, f"; its denoiser within {CHALK}, which gives all else"),
        "nested": (nested, {f"unet/{path}": pipeline_files(nested)[f"unet/{path}"] for path in unet}, "gives all else"),
        "single": (
            single,
            {"one.safetensors": one},
            "; its denoiser and text encoder and VAE (one.safetensors) within ",
        ),
        "talking": (
            talking,
            {"talking.safetensors": in_one_file(talking)},
            "; its denoiser and VAE (talking.safetensors) within",
        ),
        "bare": (bare, {"bare.safetensors": save(bare.unet.state_dict())}, "; its denoiser (bare.safetensors) within"),
        "broad": (
            None,
            {"config.json": json.dumps(wide.config).encode(), weights: save(wide.state_dict())},
            f"{family}its unet.cross_attention_dim is 32, not 16",
        ),
        "torn": (
            None,
            unet | {weights: save({name: one for name, one in tensors.items() if name != "conv_out.bias"})},
            f"{family}it has no tensor unet.conv_out.bias, which its config's unet has",
        ),
        "rounded": (
            None,
            unet | {weights: save({name: one.to(torch.float8_e4m3fn) for name, one in tensors.items()})},
            f"{family}tensor unet.conv_in.weight is of dtype F8_E4M3, which cannot be merged",
        ),
        "painter": (
            None,
            {path.removeprefix("vae/"): content for path, content in painter.items()},
            f"{family}its unet is AutoencoderKL, not UNet2DConditionModel",
        ),
        "rusty": (
            None,
            {"config.json": unet["config.json"], "diffusion_pytorch_model.bin": b""},
            "it is a denoiser alone: its component unet has pickled weights alone (diffusion_pytorch_model.bin)",
        ),
        "pile": (
            None,
            {"a.safetensors": one, "b.safetensors": in_one_file(nested)},
            "it has several files of weights (a.safetensors, b.safetensors); pin one, as in reef/pile:a.safetensors",
        ),
    }
    for name, (_, files, _) in found.items():
        server.store.commit(f"reef/{name}", files | {"README.md": image_card(f"reef/{name}")})
    yield {name: (pipeline, reason) for name, (pipeline, _, reason) in found.items()}
    for name in found:
        server.store.delete_repo(f"reef/{name}")


def test_parts_of_pipelines_are_sources_within_the_carrier(
    server: Running, parts: Mapping[str, tuple[Any, str]], tmp_path: Path
) -> None:
    """Denoisers alone, and checkpoints in one file of any layout. Alone they draw with what they have."""
    search = {"components": {"text encoder": "choose"}, "dtype": "float32", "method": "linear"}
    pool = find(server, max_sources=8, search=search)
    verdicts = {verdict.repo: verdict for verdict in pool.verdicts}
    for name, (pipeline, reason) in parts.items():
        verdict = verdicts[f"reef/{name}"]
        assert verdict.accepted is (pipeline is not None), verdict
        assert reason in verdict.reason if verdict.accepted else verdict.reason.startswith(reason), verdict
    assert pool.leader.repo == CHALK
    by_name = {name: member for member in pool.members for name in parts if member.repo == f"reef/{name}"}
    fetched = fetch_pool(Hub(server.endpoint, None, sleep=lambda _: None), pool, tmp_path / "sources")
    assert not fetched.refused
    resolver, carrier = (
        Resolver(Hub(server.endpoint, None, sleep=lambda _: None), tmp_path),
        fetched.folders[pool.leader.ref],
    )
    weights = open_sources([member.ref for member in pool.members], fetched.folders, carrier)
    live = KINDS["image"].live(carrier, weights, dtype="float32")
    merges = make_strategy(make_watchlist(search=search), pool).weight_merges
    for name, member in by_name.items():
        assert resolver.find_weights(member.ref) == member.remotes
        assert dict(weights[member.ref].headers) == dict(member.headers)
        if name in ("nested", "bare"):
            continue
        expected = copy.copy(make_pipelines()[CHALK])
        for component in weights[member.ref].components:
            expected.register_modules(**{component: getattr(parts[name][0], component)})
        assert np.array_equal(draw(merges.alone(member.ref).live_model(live)), draw(expected)), name
    chosen = merges.groups.taking({"text encoder": by_name["single"].ref, "VAE": pool.carrier})
    recipe = replace(merges.alone(by_name["lone"].ref), groups=chosen)
    write_release_folder(recipe, fetched.folders, pool.leader.ref, tmp_path / "release", "cycle-1")
    assert np.array_equal(draw(KINDS["image"].load(tmp_path / "release")), draw(recipe.live_model(live)))
    for key in ("carrier", "base"):
        with pytest.raises(ShoalError, match=f"{key}: got 'reef/lone': it is a denoiser alone, not a whole pipeline"):
            find(server, **{"watch": {}, "pinned": [OIL], key: "reef/lone"})


def test_a_pinned_source_may_be_one_file_of_a_repo(
    server: Running, parts: Mapping[str, tuple[Any, str]], tmp_path: Path
) -> None:
    """A LoRA or a checkpoint: its tensors tell, whatever its name and its card say."""
    lora = (save_lora(tmp_path / "lora") / USUAL_LORA).read_bytes()
    pile = {"loras/two.safetensors": lora, "lora_three.safetensors": save(parts["bare"][0].unet.state_dict())}
    for name in ("many", "more"):
        server.store.commit(f"reef/{name}", pile | {"README.md": image_card(f"reef/{name}")})
    pins = ["reef/many:loras/two.safetensors", {"repo": "reef/more", "file": "lora_three.safetensors"}]
    pins += ["reef/pile:b.safetensors", "reef/single:gone.safetensors"]
    pins += [f"{BASE}:unet/diffusion_pytorch_model.safetensors"]
    pool = find(server, max_sources=8, watch={}, pinned=[CHALK, *pins])
    reasons = {verdict.repo: verdict.reason for verdict in pool.verdicts}
    for name in ("many", "more"):
        server.store.delete_repo(f"reef/{name}")
    assert reasons["reef/many"].startswith(f"an adapter (loras/two.safetensors) on {BASE} that changes the denoiser")
    assert f"; its denoiser (lora_three.safetensors) within {CHALK}" in reasons["reef/more"]
    assert f"; its denoiser and text encoder and VAE (b.safetensors) within {CHALK}" in reasons["reef/pile"]
    assert reasons["reef/single"] == "pinned, but it has no file gone.safetensors, but one.safetensors"
    assert reasons[BASE].startswith("it is the base of the others, and a pool has a repo once, so unet/diffusion_pytor")
    by_repo = {source.repo: source.ref for source in pool.sources}
    many, more = by_repo["reef/many"].adapter, by_repo["reef/more"]
    assert many is not None and str(many).endswith(":loras/two.safetensors")
    assert str(more) == f"reef/more@{more.revision}:lora_three.safetensors"
    # What an earlier cycle found of another file of a repo is no reason.
    ledger = Ledger(tmp_path / "ledger.sqlite")
    damaged = {"reef/pile": "crab.safetensors", "reef/more": "lora_three.safetensors"}
    verdicts = [
        Verdict(repo, by_repo[repo].revision, False, f"damaged: {IN_FILE}{file}: it is shorter")
        for repo, file in damaged.items()
    ]
    ledger.record_pool(ledger.begin("brush", "digest", datetime.now(UTC)).id, verdicts, ())
    left = {source.repo for source in sources._without_known_damage(ledger, pool).sources}
    assert left == by_repo.keys() - {"reef/more"}
    assert ModelId.from_json(more.to_json()) == ModelId.parse(str(more)) == more


def test_a_plan_knows_how_long_drawing_takes_before_any_weights_are_there(
    server: Running, plain: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "LONG_ENOUGH", 0.0)
    monkeypatch.setattr(timing, "REPEATED_BELOW", 0.0)
    watchlist, pool, hub = make_watchlist(), plain, Hub(server.endpoint, None, sleep=lambda _: None)
    tasks = write_image_tasks(tmp_path / "tasks", 16)
    suite = SUITES["image"](watchlist.asked_skills, [tasks], watchlist.split_sizes, 0)
    resources = Resources(workers=1, threads=1, device="cpu", batch_size=4)
    speed = measure_speed(hub, pool, make_strategy(watchlist, pool), resources, suite)
    assert speed is not None and speed.item.keys() == set(Split)
    assert 0 < speed.build < speed.model_seconds(Split.SEARCH, 8, is_candidate=True) < 600


def test_settings_with_which_nothing_can_be_drawn_are_told_before_anything_is_fetched(
    server: Running, tmp_path: Path
) -> None:
    sampler = {"steps": 2, "guidance": 3.0, "width": 16, "height": 16}
    tasks = write_picture_task(tmp_path / "tasks", sampler=sampler)
    write_picture_task(tasks, task="skipping", sampler={**sampler, "options": {"clip_skip": 9}})
    spaced = {"class": "DDIMScheduler", "timestep_spacing": "sideways"}
    write_picture_task(tasks, task="spacing", sampler={**sampler, "scheduler": spaced})
    hub, workers = Hub(server.endpoint, None, sleep=lambda _: None), {"count": 1, "threads": 1, "device": "cpu"}

    def stop(*names: str, **search: object) -> str:
        """What a run says before it fetches anything, and a plan as well."""
        skills = [{"name": "all", "tasks": [{"task": name, "metric": "score"} for name in names]}]
        asked = make_watchlist(skills=skills, task_folders=[str(tasks)], workers=workers, search=search)
        home = Home(tmp_path / "-".join(names))
        with pytest.raises((EvaluationError, ShoalError)) as stopped:
            run_cycle(asked, home, hub, Listener())
        assert not list(home.folder.rglob("*.safetensors"))
        if not search:
            with pytest.raises(EvaluationError, match=re.escape(str(stopped.value))):
                make_plan(hub, asked, datetime.now(UTC))
        return str(stopped.value)

    skipping, spacing = stop("colours", "skipping", "spacing").splitlines()
    assert skipping.startswith("task skipping: sampler.options.clip_skip: got 9: StableDiffusionPipeline cannot draw")
    assert spacing.startswith("task spacing: sampler.scheduler.timestep_spacing: got sideways: ")
    stopped = stop("colours", picture_sizes=[16, 20], racing=None)
    assert stopped.endswith("; search others, or correct the task") and stopped.startswith(
        "search.picture_sizes: got 20: task colours: in 2 steps at 20 × 20 pixels: StableDiffusionPipeline does not "
    )

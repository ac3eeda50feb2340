"""A cycle over two LoRA adapters, as peft saves them, and a whole model, from the Hub to whole models as releases."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from bot.cycle.dry_run import make_plan
from bot.cycle.past.clean import CleaningLimits, delete_items, plan_cleaning
from bot.cycle.past.export import export_member
from bot.cycle.run import run_cycle
from bot.demo import TOKEN
from bot.home import Home
from bot.hub.client import Hub
from bot.hub.pool.pool import Pool
from bot.hub.resolver import differences_folder, open_sources, source_folder
from bot.ledger.ledger import Ledger, State
from bot.merge_command.merge import Merger
from bot.verify_command.verify import Verifier
from fixtures.cycles import Listener, small_watchlist, stock
from fixtures.small_repos import card
from localhub import Running, running
from merging.identity import ModelId
from merging.recipes.recipe import read_recipe
from merging.recipes.weight_merge import WeightMerge
from merging.writing.companions import RECIPE_NAME
from zoo.repo import BASE, LANGUAGE, MATH, MODELS

CYCLE = "adapters-1"
SEARCH = {"population": 12, "budget": {"candidates": 60}, "seed": 4}
"""Enough to find a release."""
PLAIN, DORA = "lora-lane/math-plain", "lora-lane/math-dora"
SETTINGS: dict[str, dict[str, Any]] = {
    PLAIN: {
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        "rank_pattern": {"k_proj": 40, r"layers\.1\.mlp\.up_proj": 60},
        "modules_to_save": ["embed_tokens", "lm_head", "input_layernorm", "post_attention_layernorm", "norm"],
    },
    DORA: {"target_modules": ["q_proj", "v_proj", "up_proj", "down_proj", "embed_tokens"], "use_dora": True}
    | {"use_rslora": True, "rank_pattern": {"embed_tokens": 60}, "modules_to_save": ["lm_head"]},
}


def read(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@torch.no_grad()
def write_adapter(folder: Path, **settings: Any) -> Path:
    """An adapter on the zoo's base that comes as near to its mathematics model as its ranks allow."""
    import peft  # takes a second, and every process that runs tests reads this file

    target = read(MODELS[MATH]).state_dict()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = peft.LoraConfig(**{"r": 76, "lora_alpha": 10, "task_type": "CAUSAL_LM", **settings})
        model = peft.get_peft_model(read(MODELS[BASE]), config)
    for name, module in model.base_model.model.named_modules():
        if isinstance(module, peft.utils.ModulesToSaveWrapper):
            module.modules_to_save["default"].weight.copy_(target[f"{name}.weight"])
        elif isinstance(module, peft.tuners.lora.LoraLayer):
            _fit(module, target[f"{name}.weight"])
    model.save_pretrained(folder, save_embedding_layers=False)
    settings_file = folder / "adapter_config.json"
    settings_file.write_text(
        json.dumps(json.loads(settings_file.read_text()) | {"base_model_name_or_path": BASE, "revision": None})
    )
    return folder


def _fit(layer: Any, target: Tensor) -> None:
    """Set a layer's factors to the best approximation of what the target adds, and DoRA's lengths to the target's."""
    embedding = "default" in layer.lora_embedding_A
    weight, scaling = layer.get_base_layer().weight, layer.scaling["default"]
    up, sizes, down = torch.linalg.svd((target - weight).T if embedding else target - weight, full_matrices=False)
    rank = layer.r["default"]
    factors = up[:, :rank] * sizes[:rank] / scaling, down[:rank]
    parts = layer.lora_embedding_B if embedding else layer.lora_B, layer.lora_embedding_A if embedding else layer.lora_A
    for part, values in zip(parts, factors, strict=True):
        place = part["default"] if embedding else part["default"].weight
        place.copy_(values)
    if layer.use_dora.get("default"):
        lengths = torch.linalg.vector_norm(target, dim=0 if embedding else 1)
        layer.lora_magnitude_vector["default"].weight.copy_(lengths)


@dataclass(frozen=True)
class Finished:
    server: Running
    hub: Hub
    home: Home
    ledger: Ledger
    adapters: dict[str, Path]

    @property
    def release(self) -> tuple[Path, WeightMerge]:
        """The folder and the recipe of a release with an adapter."""
        for entry in self.ledger.releases(CYCLE):
            recipe = read_recipe(json.loads(self.ledger.recipe(entry.recipe)))
            if isinstance(recipe, WeightMerge) and any(source.adapter for source in recipe.sources):
                return self.home.release(CYCLE, entry.role), recipe
        raise AssertionError("no release has an adapter in it")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("adapters")
    adapters = {repo: write_adapter(folder / repo.replace("/", "-"), **settings) for repo, settings in SETTINGS.items()}
    stock(folder / "hub")
    with running(folder / "hub") as server:
        for repo, saved in adapters.items():
            files = {path.name: path.read_bytes() for path in saved.iterdir()}
            server.store.commit(repo, files | {"README.md": card(base=BASE).encode()})
        hub, home = Hub(server.endpoint, TOKEN), Home(folder / "home")
        assert run_cycle(WATCHLIST, home, hub, Listener()) == CYCLE
        yield Finished(server, hub, home, Ledger(home.ledger), adapters)


PINNED = [PLAIN, DORA, LANGUAGE]
WATCHLIST = small_watchlist(
    name="adapters", watch={"tags": []}, pinned=PINNED, base=BASE, publish={"mode": "off"}, search=SEARCH
)


def test_a_cycle_releases_a_merge_of_adapters_whose_weights_are_those_of_peft_s_own_merges(finished: Finished) -> None:
    import peft

    assert finished.ledger.cycle(CYCLE).state is State.WRITTEN
    folder, recipe = finished.release
    base = read(MODELS[BASE]).state_dict()
    merged = {LANGUAGE: read(MODELS[LANGUAGE]).state_dict()}
    for repo, saved in finished.adapters.items():
        model = peft.PeftModel.from_pretrained(read(MODELS[BASE]), saved)
        merged[repo] = model.merge_and_unload().state_dict()
    for name, weight in load_file(folder / "model.safetensors").items():
        expected = base[name].double()
        plan = recipe.tensor_merge(name)
        if plan.base is None:
            expected = torch.zeros_like(expected)
        for source, factor in zip(plan.sources, plan.values["weight"], strict=True):
            start = base[name].double() if plan.base else 0
            expected += factor * (merged[source.name][name].double() - start)
        torch.testing.assert_close(weight.double(), expected, rtol=1e-4, atol=2e-5)
    assert read(folder).num_parameters() == read(MODELS[BASE]).num_parameters()


def test_shoal_merge_and_verify_give_the_bytes_again_and_so_does_a_cycle_without_what_it_stored(
    finished: Finished, tmp_path: Path
) -> None:
    folder, recipe = finished.release
    named = [str(source) for source in recipe.sources if source.adapter]
    assert all(name in (folder / RECIPE_NAME).read_text() and name.startswith(f"{BASE}@") for name in named)
    merged = Merger(finished.home, finished.hub, Listener()).merge(folder / RECIPE_NAME, tmp_path / "merged")
    assert f"- `model.safetensors`: `{merged.files['model.safetensors']}`" in (folder / "README.md").read_text()

    verifier = Verifier(finished.hub, finished.home, Listener(), items=2, trusted=False, convert_pickles=False)
    checks = verifier.verify(str(folder)).checks
    assert [str(check.outcome) for check in checks[:2]] == ["equal", "equal"]

    pool = finished.ledger.kept(CYCLE, "pool", Pool)
    assert pool is not None
    folders = {remote.ref: source_folder(finished.home.sources, remote.ref) for remote in pool.remotes}
    model = next(source for source in recipe.sources if source.adapter)
    name = "model.layers.0.self_attn.q_proj.weight"
    stored = open_sources([model], folders)[model].tensor(name)
    assert model.adapter is not None
    kept = differences_folder(folders[model.adapter], model.plain)
    moved = Path(shutil.move(kept, tmp_path / "kept"))
    assert torch.equal(stored, open_sources([model], folders)[model].tensor(name))
    shutil.move(moved, kept)


def test_the_card_and_the_licence_files_name_the_adapters_and_their_base(finished: Finished) -> None:
    folder, recipe = finished.release
    parents = ModelCard.load(folder / "README.md").data.base_model
    adapters = {source.name for source in recipe.sources if source.adapter}
    assert adapters | {BASE} <= set(parents)
    text = (folder / "README.md").read_text()
    assert f"LoRA adapter on {BASE}" in text
    assert all(f"{repo} (apache-2.0)" in text for repo in adapters)


def test_an_exported_front_member_is_the_release_it_became(finished: Finished, tmp_path: Path) -> None:
    folder, recipe = finished.release
    exported = export_member(
        finished.ledger, finished.home, finished.hub, CYCLE, recipe.digest[:12], tmp_path / "out", Listener()
    )
    assert exported.files["model.safetensors"]
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_a_plan_counts_the_base_once_and_what_adapters_add(finished: Finished) -> None:
    plan = make_plan(finished.hub, WATCHLIST, datetime.now(UTC), measure=lambda *_: None)
    assert plan.cost is not None and plan.refusal is None
    pool = finished.ledger.kept(CYCLE, "pool", Pool)
    assert pool is not None
    assert plan.cost.download == sum(remote.candidate.download_bytes for remote in pool.remotes)
    stored = sum(path.stat().st_size for path in finished.home.sources.glob("*/*.on.*/*.safetensors"))
    counted = sum(member.difference_bytes for member in pool.members)
    assert 0 < counted <= stored < counted * 1.1
    assert plan.cost.disk == plan.cost.download + counted + plan.cost.largest * WATCHLIST.publish.max_releases


def test_cleaning_takes_what_adapters_add_with_the_adapter_and_keeps_what_a_cycle_needs(finished: Finished) -> None:
    limits, later = CleaningLimits(keep_days=0), datetime.now(UTC) + timedelta(days=1)
    listed = {item.path.name for item in plan_cleaning(finished.home, limits, later).deleted}
    assert any(".on." in name for name in listed)
    copy = Home(finished.home.folder.with_name("copy"))
    shutil.copytree(finished.home.folder, copy.folder)
    delete_items(plan_cleaning(copy, limits, later))
    assert not list(copy.sources.glob("*/*"))

    changed = small_watchlist(name="resumed", watch={"tags": []}, pinned=[PLAIN, DORA, LANGUAGE], base=BASE)
    ledger = Ledger(finished.home.ledger)
    cycle = ledger.begin("resumed", changed.digest, datetime.now(UTC))
    ledger.record_pool(cycle.id, (), ledger_sources(finished))
    kept = {item.path.name: item.needed for item in plan_cleaning(finished.home, limits, later).kept}
    assert sum(".on." in name and bool(needed) for name, needed in kept.items()) == 2


def ledger_sources(finished: Finished) -> Any:
    return finished.ledger.sources(CYCLE)


def test_the_identity_of_an_adapter_s_source_names_both_commits(finished: Finished) -> None:
    _, recipe = finished.release
    source = next(source for source in recipe.sources if source.adapter)
    assert ModelId.parse(str(source)) == source and ModelId.from_json(source.to_json()) == source

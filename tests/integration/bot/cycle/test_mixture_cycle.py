"""A whole cycle over mixtures of experts: the zoo's models, each of their MLPs made into four experts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import snapshot_download
from transformers import AutoModelForCausalLM

from bot.cycle.dry_run import RunPlan, make_plan
from bot.cycle.run import run_cycle
from bot.demo import BOT_USER, TOKEN
from bot.home import Home
from bot.ledger.ledger import Ledger, ReleaseEntry, State
from bot.merge_command.merge import Merger
from bot.verify_command.verify import Verifier
from fixtures.cycles import BASE, LANGUAGE, MATH, NAMESPACE, REPORT, Listener, client, small_watchlist
from fixtures.mixtures import upcycled
from localhub import Running, running
from merging.recipes.weight_merge import WeightMerge
from zoo.repo import MODELS

CYCLE, MIXED = "mixture-1", "overcooked/minnow-mixed"
WATCHLIST = small_watchlist(
    name="mixture",
    items={"validation": 120},
    search={"groups": {"modules": "apart", "ends": "apart"}, "budget": {"candidates": 24}},
    publish={"max_releases": 1},
)


@dataclass(frozen=True)
class Finished:
    server: Running
    home: Home
    plan: RunPlan

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.home.ledger)

    @property
    def release(self) -> ReleaseEntry:
        (release,) = self.ledger.releases(CYCLE)
        return release


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("mixture")
    with running(folder / "hub") as server:
        for seed, (repo, model) in enumerate(MODELS.items()):
            server.store.commit(repo, upcycled(model, seed))
        server.store.commit(MIXED, upcycled(MODELS[MATH], 3, order=(2, 0, 3, 1)))
        server.store.add_user(BOT_USER, TOKEN)
        server.store.add_org(NAMESPACE, {BOT_USER: "write"})
        plan = make_plan(client(server), WATCHLIST, datetime.now(UTC))
        home = Home(folder / "home")
        assert run_cycle(WATCHLIST, home, client(server), Listener()) == CYCLE
        yield Finished(server, home, plan)


def test_fine_tunes_of_one_mixture_are_taken_and_one_with_reordered_experts_is_not(finished: Finished) -> None:
    verdicts = {verdict.repo: verdict for verdict in finished.ledger.verdicts(CYCLE)}
    assert {repo for repo, verdict in verdicts.items() if verdict.accepted} == {MATH, LANGUAGE}
    assert verdicts[MIXED].reason == (
        f"not of the family of {BASE}: its experts are in another order: in layer 0, its expert 0 is expert 2 there"
    )
    assert {verdict.repo for verdict in finished.plan.verdicts if verdict.accepted} == {MATH, LANGUAGE, MIXED}


def test_the_plan_has_room_for_all_experts_and_times_those_that_are_active(finished: Finished) -> None:
    cost = finished.plan.cost
    assert cost is not None and cost.seconds is not None and cost.seconds > 0
    assert cost.genes == 3 * 5  # three sources of embedding, attention, rest, routers, head
    stored = sum(parameters(finished).values())
    assert cost.largest == 4 * stored and cost.memory > cost.largest


def parameters(finished: Finished) -> dict[str, int]:
    model = AutoModelForCausalLM.from_pretrained(snapshot(finished))
    return {name: weight.numel() for name, weight in model.named_parameters()}


def snapshot(finished: Finished) -> Path:
    repo, cache = finished.release.repo, finished.home.folder / "user"
    return Path(snapshot_download(repo, revision=CYCLE, endpoint=finished.server.endpoint, cache_dir=cache))


def test_a_merged_mixture_is_released_with_routers_weighted_apart(finished: Finished) -> None:
    assert finished.ledger.cycle(CYCLE).state is State.PUBLISHED
    recipe = WeightMerge.from_json(json.loads(finished.ledger.recipe(finished.release.recipe)))
    assert recipe.groups.labels == ("embed", *(f"layers 0-1 {m}" for m in ("attention", "rest", "routers")), "head")
    card = (snapshot(finished) / "README.md").read_text()
    assert "It has 462 k parameters in a mixture of experts (4 experts, 2 active: a token passes through 257 k)" in card
    assert "| routers |" in card or "layers 0-1 routers" in card


def test_the_release_loads_plainly_and_is_the_merge_of_each_expert(finished: Finished) -> None:
    written = AutoModelForCausalLM.from_pretrained(snapshot(finished), trust_remote_code=False)
    assert type(written).__name__ == "MixtralForCausalLM"
    recipe: Any = WeightMerge.from_json(json.loads(finished.ledger.recipe(finished.release.recipe)))
    states = [AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in folders(finished, recipe)]
    name = "model.layers.1.mlp.experts.down_proj"
    weights = [row[recipe.groups.labels.index("layers 0-1 rest")] for row in recipe.rows("weight")]
    deltas = sum(w * (state[name] - states[0][name]) for w, state in zip(weights, states[1:], strict=True))
    torch.testing.assert_close(written.state_dict()[name], states[0][name] + deltas, rtol=0, atol=1e-6)


def folders(finished: Finished, recipe: WeightMerge) -> list[Path]:
    sources = finished.home.sources
    return [sources / one.location.replace("/", "--") / str(one.revision) for one in recipe.origins]


def test_anyone_can_build_and_score_the_mixture_again(finished: Finished, tmp_path: Path) -> None:
    hub = client(finished.server)
    stranger = Verifier(hub, Home(tmp_path / "home"), Listener(), items=5, trusted=True)
    found = stranger.verify(f"{finished.release.repo}@{CYCLE}")
    assert [(check.subject, str(check.outcome)) for check in found.checks] == [
        ("bytes", "equal"),
        ("tensors", "equal"),
        ("scores", "equal"),
    ]
    assert found.checks[2].detail.startswith(f"10 of {2 * REPORT} report scores")
    merger = Merger(Home(tmp_path / "home"), hub, Listener())
    merged = merger.merge(snapshot(finished) / "mergekit_config.yml", tmp_path / "merged")
    assert merged.files["model.safetensors"] == finished.release.files["model.safetensors"]

"""What configs say of experts, and whether equal numbers mean the same experts, family by family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.mixtures import fine_tune, reorder_experts, replace_routers
from fixtures.tiny_models import FAMILIES
from merging.models.experts import Experts, experts_mismatch, read_experts
from merging.models.settings import read_settings
from merging.sources.checkpoint import Checkpoint

MIXTURES = {
    "mixtral": Experts(4, 2),
    "qwen2-moe": Experts(4, 2),
    "qwen3-moe": Experts(4, 2),
    "olmoe": Experts(4, 2),
    "granite-moe": Experts(4, 2),
    "deepseek-v2": Experts(4, 2),
    "deepseek-v3": Experts(4, 2),
    "phi-moe": Experts(4, 2),
    "gpt-oss": Experts(4, 2),
    "llama4": Experts(4, 1),
    "jamba": Experts(4, 2),
}


def saved(model: Any, folder: Path) -> Checkpoint:
    model.save_pretrained(folder)
    return Checkpoint.open(folder)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_config_says_how_many_experts_there_are(kind: str) -> None:
    config = FAMILIES[kind][0](num_hidden_layers=2, **FAMILIES[kind][1]).to_dict()
    for settings in (config, read_settings(config, 2)):
        assert read_experts(settings) == MIXTURES.get(kind)


def test_no_expert_or_one_make_a_dense_model() -> None:
    assert read_experts({"num_local_experts": 0, "num_experts_per_tok": 0}) is None
    assert read_experts({"num_experts": 1, "num_experts_per_tok": 2}) is None
    assert read_experts({"num_experts": None, "num_experts_per_tok": None}) is None


@pytest.mark.parametrize("kind", MIXTURES)
def test_experts_in_another_order_are_told_from_a_fine_tunes(kind: str, tmp_path: Path) -> None:
    base = saved(fine_tune(kind, 0), tmp_path / "base")
    tuned = saved(fine_tune(kind, 5), tmp_path / "tuned")
    mixed = saved(reorder_experts(fine_tune(kind, 1), (0, 2, 3, 1)), tmp_path / "mixed")
    experts = MIXTURES[kind]
    assert experts_mismatch(base, tuned, experts) is experts_mismatch(tuned, base, experts) is None
    reason = experts_mismatch(base, mixed, experts)
    layer = 1 if kind.startswith(("deepseek", "jamba")) else 0  # layers before have no experts
    assert reason == f"its experts are in another order: in layer {layer}, its expert 1 is expert 2 there"


def test_the_reordered_model_computes_the_same_so_that_only_its_numbers_differ() -> None:
    prompt = torch.arange(1, 11)[None]
    with torch.no_grad():
        expected = fine_tune("mixtral", 1)(prompt).logits
        found = reorder_experts(fine_tune("mixtral", 1), (0, 2, 3, 1))(prompt).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


def test_experts_of_another_origin_have_no_rows_in_common(tmp_path: Path) -> None:
    wide = {"hidden_size": 256, "num_local_experts": 8}  # so that rows drawn apart are unlike
    base = saved(fine_tune("mixtral", 0, **wide), tmp_path / "base")
    upcycled = saved(replace_routers(fine_tune("mixtral", 0, **wide), 7), tmp_path / "upcycled")
    reason = experts_mismatch(base, upcycled, Experts(8, 2))
    assert reason == "its experts are not the same: in layer 0, no row of its router is like one there"


def test_a_router_without_rows_says_nothing(tmp_path: Path) -> None:
    silent = fine_tune("mixtral", 1)
    with torch.no_grad():
        for name, weight in silent.state_dict().items():
            if ".gate." in name:
                weight.zero_()
    base = saved(fine_tune("mixtral", 0), tmp_path / "base")
    assert experts_mismatch(base, saved(silent, tmp_path / "silent"), Experts(4, 2)) is None

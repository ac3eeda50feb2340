"""Each family of vision-language models: merged with another one and with a language model, written and loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from fixtures.tiny_models import recipe_of
from fixtures.tiny_vision_models import (
    DECODERS,
    VISION_FAMILIES,
    logits,
    older_name,
    read_config,
    save,
    tiny_decoder,
    tiny_vision_model,
    vision_config,
)
from merging.identity import ModelId
from merging.kinds import kind_of
from merging.models.components import LANGUAGE, component_of, read_components
from merging.models.live import LiveModel
from merging.models.settings import carrier_mismatch, read_settings
from merging.models.transformers_cache import cache_in
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.writing.release import write_release

CARRIER, OTHER, TEXT = (ModelId(f"tiny/{name}", "1" * 40) for name in ("eye", "eye-2", "text"))

READS_BOTH_WAYS = frozenset({"paligemma"})
"""Families whose decoder sees what follows in a prompt, so that it does not say what a language model says."""


@pytest.fixture(autouse=True)
def cached(tmp_path: Path) -> Iterator[None]:
    """Ask transformers about each config once, as in a home."""
    with cache_in(tmp_path / "cache"):
        yield


@pytest.mark.parametrize("family", VISION_FAMILIES)
def test_every_tensor_is_the_formula_s_and_pictures_are_answered_alike(family: str, tmp_path: Path) -> None:
    """The carrier's files have their authors' names, the other's those of today's transformers."""
    config = vision_config(family)
    models = {
        CARRIER: tiny_vision_model(config, 1),
        OTHER: tiny_vision_model(config, 2),
        TEXT: tiny_decoder(config, 3, model_type=DECODERS.get(family)),
    }
    weights = {one: save(model, tmp_path / one.location, older=one == CARRIER) for one, model in models.items()}
    read = {one: read_config(opened.folder) for one, opened in weights.items()}
    settings = {one: read_settings(found, 2) for one, found in read.items()}
    assert [carrier_mismatch(settings[CARRIER], settings[one]) for one in (OTHER, TEXT)] == [None, None]

    components = read_components(read[CARRIER], family)
    groups = kind_of(read[CARRIER]).partition(
        weights[CARRIER].names, bands=2, modules_apart=True, ends_apart=True, components=components
    )
    rows = recipe_of("linear", [CARRIER, OTHER, TEXT], groups).rows("weight")
    recipe = WeightMerge(
        "linear", (CARRIER, OTHER, TEXT), None, groups.lacking([TEXT]), (("weight", rows),), "float32", 0, (), CARRIER
    )
    eye, other, text = (model.state_dict() for model in models.values())
    expected = {}
    for name in eye:
        shares = [row[groups.group(name)] for row in rows]
        inside = text.get(name.replace(components[LANGUAGE][0], "model", 1))
        given = [eye[name], other[name], *([inside] if component_of(components, name) == LANGUAGE else [])]
        shares = shares[: len(given)]
        expected[name] = sum(share * one for share, one in zip(shares, given, strict=True)) / sum(shares)

    live = LiveModel(weights[CARRIER].folder, weights, dtype="float32")
    live.become(recipe)
    write_release(recipe, weights, tmp_path / "merged", {}, config_source=weights[CARRIER].folder)
    loaded, report = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not any(report.values())
    assert set(Checkpoint.open(tmp_path / "merged").names) == {older_name(family, name) for name in eye}
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, live.model.state_dict()[name]), name
        assert torch.allclose(tensor, expected[name], atol=1e-6), name
    # Equal weights may lie at other addresses, by which kernels are chosen.
    assert torch.allclose(logits(loaded.eval()), logits(live.model), atol=1e-5)
    models[OTHER].load_state_dict(expected)
    assert torch.allclose(logits(models[OTHER]), logits(loaded), atol=1e-4)
    assert not torch.allclose(logits(loaded), logits(loaded, seed=1), atol=1e-2), "it sees the picture"

    if family not in READS_BOTH_WAYS:
        live.become(WeightMerge.single(TEXT, recipe.groups, "float32", carrier=CARRIER))
        words = {"input_ids": torch.tensor([[1, 5, 9, 17, 3, 28]])}
        with torch.no_grad():
            assert torch.allclose(live.model(**words).logits, models[TEXT](**words).logits, atol=1e-5)

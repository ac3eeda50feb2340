"""Paths through the layers of the language models inside vision-language models, and families that have none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForImageTextToText

from fixtures.tiny_vision_models import (
    llava_config,
    logits,
    older_name,
    read_config,
    save,
    tiny_decoder,
    tiny_vision_model,
    vision_config,
)
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kinds import kind_of
from merging.models.components import read_components
from merging.models.live import LiveModels
from merging.models.settings import read_settings
from merging.paths.layout import check_rearrangeable
from merging.recipes.path import Hop, PathRecipe
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.writing.release import write_release

EYE, OTHER, TEXT = (ModelId(f"tiny/{name}") for name in ("eye", "eye-2", "text"))


def test_a_path_goes_through_the_language_layers_and_features_stay(tmp_path: Path) -> None:
    """Layers of three models, one of them a plain language model; a scaled hop is one by whose scale it is divided."""
    config = llava_config(layers=3)
    eye, other, text = tiny_vision_model(config, 1), tiny_vision_model(config, 2), tiny_decoder(config, 3)
    weights = {
        EYE: save(eye, tmp_path / "eye", older=True),
        OTHER: save(other, tmp_path / "eye-2"),
        TEXT: save(text, tmp_path / "text"),
    }
    read = read_config(tmp_path / "eye")
    groups = kind_of(read).partition(
        weights[EYE].names, bands=1, modules_apart=False, ends_apart=False, components=read_components(read, "eye")
    )
    whole = groups.lacking([TEXT]).single_group
    parts = tuple(WeightMerge.single(model, whole, "float32", carrier=EYE) for model in (EYE, OTHER, TEXT))
    hops = (Hop(0, 0, 1.0), Hop(2, 1, 1.0), Hop(1, 1, 0.5), Hop(2, 2, 1.0), Hop(0, 2, 1.0))
    path = PathRecipe(parts, hops, 0, 1)
    assert path.origins == (EYE, OTHER, TEXT) and path.carrier == EYE

    live = path.live_model(LiveModels(tmp_path / "eye", weights, dtype="float32"))
    write_release(path, weights, tmp_path / "merged", {}, config_source=tmp_path / "eye")
    loaded, report = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not any(report.values()) and loaded.config.text_config.num_hidden_layers == 5
    assert all(torch.equal(tensor, live.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    assert set(Checkpoint.open(tmp_path / "merged").names) == {older_name("llava", name) for name in live.state_dict()}

    inside = eye.model.language_model
    stacks = [inside.layers, other.model.language_model.layers, text.model.layers]
    layers = [stacks[hop.part][hop.layer] for hop in hops]
    layers[2].register_forward_pre_hook(lambda _, inputs: (inputs[0] * 0.5, *inputs[1:]))
    for number, layer in enumerate(layers):
        layer.self_attn.layer_idx = number
    inside.layers, inside.config.num_hidden_layers = nn.ModuleList(layers), 5
    inside.norm, eye.lm_head = other.model.language_model.norm, other.lm_head
    assert torch.allclose(logits(eye), logits(loaded.eval()), atol=1e-3)
    assert torch.allclose(logits(live), logits(loaded), atol=1e-5)


@pytest.mark.parametrize(
    ("family", "why"),
    [
        ("qwen2_vl", None),
        ("gemma3", None),
        ("qwen3_vl", "'qwen3_vl_text': its layers .* pictures are added to its first layers .*deepstack"),
    ],
)
def test_a_family_whose_layers_read_pictures_by_their_numbers_has_no_paths(family: str, why: str | None) -> None:
    config = vision_config(family)
    components = read_components(config, family)
    shapes = {name: tuple(one.shape) for name, one in tiny_vision_model(config, 1).state_dict().items()}

    def check() -> None:
        check_rearrangeable(read_settings(config, 2), shapes, 2, family, components)

    if why is None:
        check()
        return
    with pytest.raises(MergingError, match=why):
        check()


def test_cross_attention_has_no_paths() -> None:
    settings = {"model_type": "mllama", "text_config.model_type": "mllama_text_model"}
    with pytest.raises(MergingError, match=r"some layers, by their numbers, read pictures instead of text"):
        check_rearrangeable(settings, {}, 2, "mllama")

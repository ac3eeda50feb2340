"""LoRAs of diffusers and of kohya's scripts are sources: their base with what they add."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from fixtures.tiny_pipelines import make_source
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kinds import KINDS
from merging.merge_tensor import SourceLoader, merge_tensor
from merging.models.components import read_components
from merging.pipelines.lora import LoraPipeline, open_lora
from merging.pipelines.weights import PipelineWeights, open_pipeline
from merging.recipes.weight_merge import WeightMerge
from merging.sources.model_config import read_model_config

MODULES = ["to_q", "to_v", "to_out.0", "conv1", "conv_shortcut"]
TEXT = ["q_proj", "fc1"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> PipelineWeights:
    folder: Path = tmp_path_factory.mktemp("base")
    make_source("StableDiffusionPipeline", 0).save_pretrained(folder)
    return open_pipeline(folder)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of UNet and text encoder, saved by diffusers with alphas of its own."""
    pipeline = make_source("StableDiffusionPipeline", 0)
    torch.manual_seed(5)
    for model, modules in ((pipeline.unet, MODULES), (pipeline.text_encoder, TEXT)):
        settings = {"alpha_pattern": {"to_v": 1}} if model is pipeline.unet else {}
        model.add_adapter(LoraConfig(r=2, lora_alpha=6, target_modules=modules, **settings))
        for name, weight in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.1)
    folder: Path = tmp_path_factory.mktemp("lora")
    layers: list[Any] = [
        convert_state_dict_to_diffusers(get_peft_model_state_dict(model))
        for model in (pipeline.unet, pipeline.text_encoder)
    ]
    about = [model.peft_config["default"].to_dict() for model in (pipeline.unet, pipeline.text_encoder)]
    type(pipeline).save_lora_weights(
        folder,
        unet_lora_layers=layers[0],
        text_encoder_lora_layers=layers[1],
        unet_lora_adapter_metadata=about[0],
        text_encoder_lora_adapter_metadata=about[1],
    )
    return folder


def kohya(saved: Path, folder: Path) -> Path:
    """The same UNet matrices under kohya's keys, each module with an alpha of 3."""
    found: dict[str, torch.Tensor] = {}
    for key, tensor in load_file(saved / "pytorch_lora_weights.safetensors").items():
        if key.startswith("unet."):
            module, side = re.split(r"\.(?=lora[._])", key.removeprefix("unet."))
            name = "lora_unet_" + module.replace(".", "_")
            end = "down" if "down" in side or "_A" in side else "up"
            found |= {f"{name}.lora_{end}.weight": tensor, f"{name}.alpha": torch.tensor(3.0)}
    save_file(found, folder / "style.safetensors")
    return folder / "style.safetensors"


def fused(base: PipelineWeights, place: Path) -> Mapping[str, torch.Tensor]:
    """The weights that diffusers and peft make of base and LoRA."""
    pipeline: Any = KINDS["image"].load(base.folder)
    folder, name = (place, None) if place.is_dir() else (place.parent, place.name)
    pipeline.load_lora_weights(folder, weight_name=name, local_files_only=True)
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    parts = ("unet", "text_encoder")
    return {f"{part}.{key}": one for part in parts for key, one in pipeline.components[part].state_dict().items()}


@pytest.mark.parametrize("form", ["diffusers", "kohya"])
def test_a_lora_gives_the_weights_that_diffusers_fuses(
    base: PipelineWeights, saved: Path, tmp_path: Path, form: str
) -> None:
    place = saved if form == "diffusers" else kohya(saved, tmp_path)
    found = open_lora(base, place)
    found.verify()
    changed = 0
    for name, weight in fused(base, place).items():
        torch.testing.assert_close(found.tensor(name).float(), weight, rtol=1e-5, atol=1e-6)
        changed += not torch.equal(weight, base.tensor(name))
    assert changed == sum(found.adapted(name).difference is not None for name in base.names) > 10
    assert found.changed == ({"unet", "text_encoder"} if form == "diffusers" else {"unet"})


def test_a_lora_is_merged_as_the_difference_that_it_is(base: PipelineWeights, saved: Path) -> None:
    first = ModelId("author/base", "1" * 40)
    with_lora = ModelId("author/base", "1" * 40, ModelId("author/style", "2" * 40))
    sources: dict[ModelId, PipelineWeights] = {first: base, with_lora: open_lora(base, saved)}
    components = read_components(read_model_config(base.folder), "base")
    groups = (
        KINDS["image"]
        .partition(base.names, bands=1, modules_apart=False, ends_apart=False, components=components)
        .taking({"VAE": first, "text encoder": first})
    )
    recipe = WeightMerge("task_arithmetic", (with_lora,), first, groups, (("weight", ((0.5,),)),), "float32", 0)
    adapted = sources[with_lora]
    assert isinstance(adapted, LoraPipeline)
    for name in (name for name in base.names if adapted.adapted(name).difference is not None and "unet" in name):
        difference = adapted.adapted(name).difference
        assert difference is not None
        merged = merge_tensor(recipe, name, SourceLoader(sources))
        torch.testing.assert_close(merged, base.tensor(name) + 0.5 * difference, rtol=1e-6, atol=1e-7)
    taking = recipe.groups.taking({"text encoder": with_lora})
    live = KINDS["image"].live(base.folder, sources, dtype="float32")
    with pytest.raises(MergingError, match="its text_encoder is not taken whole, for an adapter changes it"):
        WeightMerge("task_arithmetic", (with_lora,), first, taking, (("weight", ((0.5,),)),), "float32", 0).live_model(
            live
        )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda found: {**found, "unet.mid_block.gone.lora.down.weight": torch.ones(2, 8)}, "only one of its two"),
        (
            lambda found: {
                **found,
                "unet.mid_block.gone.lora.down.weight": torch.ones(2, 8),
                "unet.mid_block.gone.lora.up.weight": torch.ones(8, 2),
            },
            "the base has no unet.mid_block.gone.weight: this LoRA is for another base",
        ),
        (
            lambda found: {key: torch.ones(3, 2) if "to_q.lora.up" in key else one for key, one in found.items()},
            "its matrices make 3×8, the base's unet",
        ),
        (lambda found: {**found, "unet.mid_block.x.dora_scale": torch.ones(8)}, "is none that plain LoRA has"),
        (lambda found: {key: one.to(torch.int8) for key, one in found.items()}, "is of dtype I8"),
    ],
)
def test_a_lora_that_does_not_fit_is_refused(
    base: PipelineWeights, saved: Path, tmp_path: Path, change: Any, reason: str
) -> None:
    found = load_file(saved / "pytorch_lora_weights.safetensors")
    save_file({key: one.contiguous() for key, one in change(found).items()}, tmp_path / "odd.safetensors")
    with pytest.raises(MergingError, match=reason):
        open_lora(base, tmp_path)


def test_a_folder_of_several_loras_wants_one_named(base: PipelineWeights, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(MergingError, match="no LoRA in safetensors: name one file"):
        open_lora(base, tmp_path)
    for name in ("a", "b"):
        kohya(saved, tmp_path).rename(tmp_path / f"{name}.safetensors")
    with pytest.raises(MergingError, match=r"several LoRAs \(a.safetensors, b.safetensors\): name one file"):
        open_lora(base, tmp_path)
    zero = {key: torch.zeros_like(one) for key, one in load_file(tmp_path / "a.safetensors").items()}
    save_file(zero | {key: torch.tensor(1.0) for key in zero if key.endswith("alpha")}, tmp_path / "a.safetensors")
    with pytest.raises(MergingError, match="it changes nothing"):
        open_lora(base, tmp_path / "a.safetensors").verify()

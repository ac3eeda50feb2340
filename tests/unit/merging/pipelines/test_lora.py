"""LoRAs of diffusers and of kohya's scripts are sources: their base with what they add."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fixtures.tiny_loras import fused, kohya, save_lora
from fixtures.tiny_pipelines import make_source
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kinds import KINDS
from merging.merge_tensor import SourceLoader, merge_tensor
from merging.models.components import read_components
from merging.pipelines.lora import LoraPipeline, check_lora, open_lora
from merging.pipelines.weights import PipelineWeights, open_pipeline
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import read_headers
from merging.sources.model_config import read_model_config
from merging.writing.differences import store_differences


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> PipelineWeights:
    folder: Path = tmp_path_factory.mktemp("base")
    make_source("StableDiffusionPipeline", 0).save_pretrained(folder)
    return open_pipeline(folder)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("lora")
    return save_lora(folder)


@pytest.mark.parametrize("form", ["diffusers", "kohya"])
def test_a_lora_gives_the_weights_that_diffusers_fuses(
    base: PipelineWeights, saved: Path, tmp_path: Path, form: str
) -> None:
    place = saved if form == "diffusers" else kohya(saved, tmp_path)
    found = open_lora(base, place)
    found.verify()
    changed = 0
    for name, weight in fused(base.folder, place).items():
        torch.testing.assert_close(found.tensor(name).float(), weight, rtol=1e-5, atol=1e-6)
        changed += not torch.equal(weight, base.tensor(name))
    file = place / "pytorch_lora_weights.safetensors" if place.is_dir() else place
    by_headers = check_lora(base.config, base.headers, read_headers(file), "its file")
    assert by_headers == {name for name in base.names if found.may_change(name)}
    assert changed == sum(found.adapted(name).difference is not None for name in base.names) > 10
    assert found.changed == ({"unet", "text_encoder"} if form == "diffusers" else {"unet"})
    store_differences(found, tmp_path / "stored")
    stored = open_lora(base, place, tmp_path / "stored")
    stored.verify()
    assert (stored.differing, stored.changed) == (found.differing, found.changed)
    assert all(torch.equal(stored.tensor(name), found.tensor(name)) for name in base.names)
    first, again = (stored.adapted(min(stored.differing)).difference for _ in range(2))
    assert first is not None and again is not None and first.data_ptr() == again.data_ptr()  # it was not computed


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
        (lambda _: {}, "it has no tensors"),
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
    with pytest.raises(MergingError, match=f"^its file: .*{reason}"):
        check_lora(base.config, base.headers, read_headers(tmp_path / "odd.safetensors"), "its file")


def test_a_folder_of_several_loras_wants_one_named(base: PipelineWeights, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(MergingError, match="it has no LoRA in safetensors"):
        open_lora(base, tmp_path)
    for name in ("a", "b"):
        kohya(saved, tmp_path).rename(tmp_path / f"{name}.safetensors")
    with pytest.raises(MergingError, match=r"several LoRAs \(a.safetensors, b.safetensors\): name one after a colon"):
        open_lora(base, tmp_path)
    zero = {key: torch.zeros_like(one) for key, one in load_file(tmp_path / "a.safetensors").items()}
    save_file(zero | {key: torch.tensor(1.0) for key in zero if key.endswith("alpha")}, tmp_path / "a.safetensors")
    with pytest.raises(MergingError, match="it changes nothing"):
        open_lora(base, tmp_path / "a.safetensors").verify()

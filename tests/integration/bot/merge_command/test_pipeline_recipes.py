"""The recipe file beside a release of pipelines: `shoal merge` makes the same files of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from bot.home import Home
from bot.hub.client import Hub
from bot.merge_command.merge import Merged, Merger
from bot.progress import TerminalNarrator
from fixtures.folders import ROOT
from fixtures.ldm_files import save_single_file
from fixtures.tiny_loras import save_lora
from fixtures.tiny_painters import clip_text
from fixtures.tiny_pipelines import make_source
from merging.identity import ModelId
from merging.kinds import KINDS
from merging.models.components import read_components
from merging.partition import Partition, banded_stack
from merging.pipelines.lora import open_lora
from merging.pipelines.partial.single_file import open_single_file
from merging.pipelines.weights import PipelineWeights, open_pipeline
from merging.recipes.last_stage import LastStage
from merging.recipes.weight_merge import WeightMerge
from merging.sources.model_config import read_model_config
from merging.writing.companions import RECIPE_NAME
from merging.writing.release import write_release

A, B, FILE = ModelId("./a"), ModelId("./b"), ModelId("./file.safetensors")
STYLED = replace(B, adapter=ModelId("./style"))
FAST = replace(A, adapter=ModelId("./style"))
Sources = Mapping[ModelId, PipelineWeights]


@pytest.fixture(scope="module")
def bay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pipelines, of which the second has a tokenizer of its own, a checkpoint in one file, and a LoRA."""
    folder = tmp_path_factory.mktemp("bay")
    for seed, name in enumerate(("a", "b")):
        make_source("StableDiffusionPipeline", seed).save_pretrained(folder / name)
    words = folder / "b" / "tokenizer" / "tokenizer.json"
    words.write_text(words.read_text().replace('"red": 5', '"red": 6').replace('"green": 6', '"green": 5'))
    save_single_file(make_source("StableDiffusionPipeline", 2), folder / "file.safetensors")
    (folder / "style").mkdir()
    save_lora(folder / "style")
    return folder


@pytest.fixture(scope="module")
def sources(bay: Path) -> Sources:
    first, second = open_pipeline(bay / "a"), open_pipeline(bay / "b")
    lora = bay / "style"
    file = open_single_file(bay / "file.safetensors", first.config, "the carrier")
    return {A: first, B: second, FILE: file, STYLED: open_lora(second, lora), FAST: open_lora(first, lora)}


def divide(sources: Sources, whole: Mapping[str, ModelId], bands: int = 3) -> Partition:
    config = read_model_config(sources[A].folder)
    components = read_components(config, "a")
    found = KINDS["image"].partition(
        sources[A].names, bands=bands, modules_apart=True, ends_apart=True, components=components
    )
    return found.taking(whole)


def rows(groups: Partition, sources: int) -> tuple[tuple[float, ...], ...]:
    """A value of its own for each group and source."""
    count = range(len(groups.labels))
    return tuple(tuple(0.1 + 0.07 * group + 0.3 * source for group in count) for source in range(sources))


def hashes(folder: Path) -> dict[str, str]:
    """Of everything but the documents, which a release and a merge have each in their own words."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "README.md")
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def merge(recipe: Path, target: Path, seed: int = 0) -> Merged:
    home, hub = Home(recipe.parent / "home"), Hub("http://127.0.0.1:9")
    return Merger(home, hub, TerminalNarrator(Console(quiet=True)), seed=seed).merge(recipe, target)


@pytest.mark.parametrize("form", ["encoder of another", "merged encoder", "one model"])
def test_a_release_s_recipe_file_makes_every_file_of_it_again(bay: Path, sources: Sources, form: str) -> None:
    stage = LastStage(FAST, 0.7)
    if form == "encoder of another":
        groups = divide(sources, {"text encoder": B, "VAE": FILE})
        values = (("density", rows(groups, 1)), ("weight", rows(groups, 1)))
        recipe = WeightMerge("dare_linear", (B,), A, groups, values, "bfloat16", 7, carrier=A, steps=4, size=16)
    elif form == "merged encoder":
        groups = divide(sources, {"VAE": B})
        values = (("weight", rows(groups, 2)),)
        recipe = WeightMerge("linear", (A, FAST), None, groups, values, "float16", 0, carrier=A, last_stage=stage)
    else:
        groups = divide(sources, {"VAE": B}).merged.single_group
        recipe = replace(WeightMerge.single(STYLED, groups, "float32", carrier=A), last_stage=stage)
    folder, again = bay / form, bay / f"{form} again"
    write_release(recipe, sources, folder, {}, config_source=sources[A].folder)
    text = (folder / RECIPE_NAME).read_text(encoding="utf-8")
    assert ("# The search chose to draw in 4 steps, about 16 × 16 pixels," in text) == (recipe.steps == 4)
    (bay / f"{form}.yml").write_text(text, encoding="utf-8")
    merged = merge(bay / f"{form}.yml", again, recipe.seed)
    assert merged.plan.remarks == ()
    assert hashes(again) == hashes(folder)


@pytest.mark.parametrize("form", ["bands", "lacking"])
def test_what_no_recipe_file_can_say_is_named_in_it(bay: Path, sources: Sources, form: str) -> None:
    """A text encoder in bands, as a module has one value; one that slerp leaves as the only model has it."""
    denoiser, encoder, vae = divide(sources, {"VAE": A}, bands=1).components
    bands = banded_stack(((0, 1), (1, 2)), modules_apart=False, ends_apart=False)
    encoder = replace(encoder, layers=2, use=bands) if form == "bands" else replace(encoder, lacking=(B,))
    groups = Partition((denoiser, encoder, vae))
    method, name, why = {
        "bands": ("linear", "weight", "the tensors of its text encoder have several values, and a module has one"),
        "lacking": ("slerp", "t", "its text encoder is not merged by slerp, as some models lack it"),
    }[form]
    values = ((name, rows(groups, 2 if form == "bands" else 1)),)
    recipe = WeightMerge(method, (A, B), None, groups, values, "float32", 0, carrier=A)
    write_release(recipe, sources, bay / form, {}, config_source=sources[A].folder)
    lines = (bay / form / RECIPE_NAME).read_text().splitlines()
    assert all(line.startswith("# ") for line in lines)
    assert " ".join(line.removeprefix("# ") for line in lines) == (
        f"mergekit does not merge pipelines. There is no recipe file for this merge: {why}. "
        "The exact recipe is in shoal.json."
    )


NAMES = {
    "stabilityai/stable-diffusion-xl-base-1.0": "./base",
    "tohoku-nlp/stable-diffusion-xl-jp-base-1.0": "./jp",
    "ByteDance/SDXL-Lightning:sdxl_lightning_4step_lora.safetensors": "./lightning.safetensors",
}
"""Models of the documentation's example → those that stand for them."""

MODULE = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


def test_the_example_of_the_documentation_is_what_it_says(tmp_path: Path) -> None:
    pipelines = {
        name: make_source("StableDiffusionXLPipeline", seed) for seed, name in enumerate(("base", "jp", "file"))
    }
    for name, pipeline in pipelines.items():  # in one file, text encoders are told apart by their widths
        pipeline.register_modules(text_encoder_2=clip_text(projected=True, width=24))
        if name != "file":
            pipeline.save_pretrained(tmp_path / name)
    save_single_file(pipelines["file"], tmp_path / "juggernaut.safetensors")
    added = {}
    for name in ("papercut", "lightning"):
        down, up = torch.randn(2, 8), torch.randn(8, 2)
        save_file({f"{MODULE}.lora_A.weight": down, f"{MODULE}.lora_B.weight": up}, tmp_path / f"{name}.safetensors")
        added[name] = up @ down
    text = (ROOT / "docs" / "merge.md").read_text().partition("# sdxl.yml\n")[2].partition("```")[0]
    for name, stand_in in NAMES.items():
        assert name in text
        text = text.replace(name, stand_in)
    (tmp_path / "sdxl.yml").write_text(text)
    merged = merge(tmp_path / "sdxl.yml", tmp_path / "merged")
    assert merged.plan.remarks == ()
    found, base = open_pipeline(merged.target), pipelines["base"].unet.state_dict()
    file = pipelines["file"].unet.state_dict()
    for name, own in base.items():
        down, attention = name.startswith("down_blocks."), ".attn" in name
        of_file = (0.6 if attention else 0.4) if down else 0.3
        expected = (1 - of_file) * own + of_file * file[name]
        if name == f"{MODULE.removeprefix('unet.')}.weight":
            expected = expected + 0.2 * added["papercut"] + added["lightning"]
        torch.testing.assert_close(found.tensor(f"unet.{name}"), expected.half(), rtol=1e-3, atol=1e-4, msg=name)
    for folder, owner in {"text_encoder": "jp", "tokenizer": "jp", "text_encoder_2": "jp", "vae": "base"}.items():
        for path in (tmp_path / owner / folder).iterdir():
            assert (merged.target / folder / path.name).read_bytes() == path.read_bytes(), path

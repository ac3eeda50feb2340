"""`shoal merge` on vision-language models and on language models that are merged into them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from transformers import AutoModelForImageTextToText

from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.merge_command.merge import Merged, Merger
from bot.progress import TerminalNarrator
from fixtures.small_repos import tokenizer
from fixtures.tiny_vision_models import (
    llava_config,
    older_name,
    save,
    tiny_decoder,
    tiny_vision_model,
)
from merging.sources.checkpoint import Checkpoint
from merging.writing.companions import RECIPE_NAME

WORDS = 50


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    """Two LLaVAs, one with its authors' names and one with today's, and two Llamas."""
    return {
        "eye": tiny_vision_model(llava_config(), 1),
        "eye-2": tiny_vision_model(llava_config(), 2),
        "text": tiny_decoder(llava_config(), 3),
        "base": tiny_decoder(llava_config(), 4),
    }


@pytest.fixture(scope="module")
def reef(models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reef")
    for name, model in models.items():
        save(model, folder / name, older=name == "eye")
        (folder / name / "tokenizer.json").write_text(json.dumps(tokenizer(WORDS)))
    return folder


def merge(reef: Path, **content: Any) -> tuple[Merged, dict[str, torch.Tensor]]:
    """Run a recipe whose folders are beside it, and load what it writes as anyone would."""
    number = len(list(reef.glob("*.yml")))
    file = reef / f"{number}.yml"
    file.write_text(yaml.safe_dump({**content, "dtype": "float32"}, sort_keys=False))
    merger = Merger(Home(reef / "home"), Hub("http://127.0.0.1:9"), TerminalNarrator(Console(quiet=True)))
    merged = merger.merge(file, reef / f"out-{number}")
    model, report = AutoModelForImageTextToText.from_pretrained(merged.target, output_loading_info=True)
    assert not any(report.values())
    return merged, dict(model.state_dict())


def weighed(**weights: float) -> list[dict[str, Any]]:
    return [{"model": f"./{name.replace('_', '-')}", "parameters": {"weight": one}} for name, one in weights.items()]


def inside(name: str) -> str:
    """The name of a tensor of the language part in a language model of its own."""
    return name.replace("model.language_model.", "model.")


def test_a_language_model_is_merged_into_the_language_part(models: dict[str, Any], reef: Path) -> None:
    """The config source is not the base, a language model, but the model that has it as a part."""
    merged, found = merge(reef, merge_method="task_arithmetic", base_model="./base", models=weighed(eye=0.7, text=0.4))
    eye, text, base = (models[name].state_dict() for name in ("eye", "text", "base"))
    for name, tensor in found.items():
        expected = eye[name]
        if (own := inside(name)) in base:
            expected = base[own] + 0.7 * (eye[name] - base[own]) + 0.4 * (text[own] - base[own])
        assert torch.allclose(tensor, expected, atol=1e-6), name
    assert set(Checkpoint.open(merged.target).names) == {older_name("llava", name) for name in eye}
    assert merged.plan.result.layers == 2 and str(merged.plan.assembly.lead) == "./eye"
    (remark,) = merged.plan.remarks
    assert remark.startswith("mergekit takes no language model (./base, ./text) into a model of several components")
    assert (merged.target / RECIPE_NAME).read_text().startswith("# mergekit takes no language model (./base, ./text)")
    assert yaml.safe_load((merged.target / RECIPE_NAME).read_text())["base_model"] == "./base"
    card = (merged.target / "README.md").read_text()
    assert "pipeline_tag: image-text-to-text" in card and "processor = AutoProcessor.from_pretrained(" in card


def test_two_of_them_are_merged_whatever_their_files_names(models: dict[str, Any], reef: Path) -> None:
    merged, found = merge(reef, merge_method="linear", models=weighed(eye_2=0.25, eye=0.75))
    eye, other = (models[name].state_dict() for name in ("eye", "eye-2"))
    for name, tensor in found.items():
        assert torch.allclose(tensor, 0.25 * other[name] + 0.75 * eye[name], atol=1e-6), name
    assert any("leaves out tensors of this family" in remark for remark in merged.plan.remarks)


def test_each_module_has_models_of_its_own(models: dict[str, Any], reef: Path) -> None:
    """The projector is nowhere in the file: it is that of the model whose config the result has."""
    _, found = merge(
        reef,
        merge_method="linear",
        modules={
            "text_decoder": {"models": weighed(eye=0.5, text=0.5)},
            "vision_tower": {"models": weighed(eye=0.2, eye_2=0.8)},
        },
    )
    eye, other, text = (models[name].state_dict() for name in ("eye", "eye-2", "text"))
    for name, tensor in found.items():
        expected = 0.2 * eye[name] + 0.8 * other[name] if "vision_tower" in name else eye[name]
        if inside(name) in text:
            expected = (eye[name] + text[inside(name)]) / 2
        assert torch.allclose(tensor, expected, atol=1e-6), name
    _, whole = merge(
        reef,
        merge_method="slerp",
        base_model="./eye",
        parameters={"t": 0},
        modules={
            "text_decoder": {
                "slices": [{"sources": layers("eye", "text", (0, 1))}, {"sources": layers("text", "eye", (0, 1))}]
            },
            "multi_modal_projector": {"models": [{"model": "./eye-2"}]},
        },
    )
    assert whole["model.vision_tower.post_layernorm.weight"].equal(eye["model.vision_tower.post_layernorm.weight"])


def layers(one: str, other: str, taken: tuple[int, int]) -> list[dict[str, Any]]:
    return [{"model": f"./{name}", "layer_range": list(taken)} for name in (one, other)]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (
            {"models": weighed(eye=1, text=1), "tokenizer_source": "union"},
            "tokenizer_source: got 'union': ./eye has rows",
        ),
        ({"modules": {"vision_tower": {"models": weighed(eye=1)}, "b": {}}}, "one of several must be text_decoder"),
        (
            {"modules": {"text_decoder": {"models": weighed(eye=1)}, "tower": {"models": weighed(eye=1)}}},
            "modules.tower: got a module: there is none of this name; use vision_tower, vision_model,",
        ),
        (
            {"modules": {"text_decoder": {"models": weighed(text=1)}, "vision_tower": {"models": weighed(text=1)}}},
            "modules.vision_tower: got a module: the result has no vision tower, only language; leave it out",
        ),
        (
            {"modules": {"text_decoder": {"models": weighed(eye=1)}, "vision_tower": {"models": weighed(text=1)}}},
            "modules.vision_tower: got ./text: no vision tower is there; name another model",
        ),
        (
            {
                "modules": {
                    "text_decoder": {"models": weighed(eye=1)},
                    "vision_tower": {"models": weighed(eye=1)},
                    "vision_model": {"models": weighed(eye_2=1)},
                }
            },
            "modules.vision_model: got a module: modules.vision_tower is the vision tower too; write one of the two",
        ),
        ({"models": weighed(eye=1), "carrier": "./eye"}, "carrier: got ./eye: only merges of pipelines have one"),
        (
            {"modules": {"denoiser": {"models": weighed(eye=1)}}},
            "modules.denoiser: got a module: only pipelines have a denoiser; write models",
        ),
        ({"models": weighed(eye=1, qwen=1)}, "has no place in the language model of LlavaForConditionalGeneration"),
    ],
)
def test_what_cannot_be_merged_is_one_line_and_nothing_is_written(
    content: dict[str, Any], why: str, reef: Path
) -> None:
    if not (reef / "qwen").exists():
        save(tiny_decoder(llava_config(), 5, model_type="qwen2"), reef / "qwen")
    with pytest.raises(ShoalError) as caught:
        merge(reef, merge_method="linear", **content)
    (line,) = str(caught.value).splitlines()
    assert why in line and not list(reef.glob(f"out-{len(list(reef.glob('*.yml'))) - 1}"))

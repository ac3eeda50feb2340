"""`shoal merge` on vision-language models and on language models that are merged into them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
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
from fixtures.tiny_models import recipe_of
from fixtures.tiny_vision_models import (
    llava_config,
    older_name,
    read_config,
    save,
    tiny_decoder,
    tiny_vision_model,
)
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kinds import kind_of
from merging.kinds.kind import VISION_TOWER
from merging.mergekit.component_limits import component_limits
from merging.mergekit.writer import to_mergekit_yaml
from merging.models.components import read_components
from merging.models.transformers_cache import cache_in
from merging.partition import Partition
from merging.recipes.path import Hop, PathRecipe
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.sources.renamed import open_model
from merging.writing.companions import RECIPE_NAME
from merging.writing.release import write_release

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
def reef(models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("reef")
    for name, model in models.items():
        save(model, folder / name, older=name == "eye")
        (folder / name / "tokenizer.json").write_text(json.dumps(tokenizer(WORDS)))
    with cache_in(folder / "cache"):
        yield folder


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


EYE, OTHER, TEXT, BASE = (ModelId(f"tiny/{name}", "1" * 40) for name in ("eye", "eye-2", "text", "base"))


def divide(reef: Path, *, ends_apart: bool = True) -> Partition:
    """The groups of searches in which a LLaVA carries the result: the language model's, and one for each other part."""
    config = read_config(reef / "eye")
    return kind_of(config).partition(
        open_model(reef / "eye").names,
        bands=2,
        modules_apart=True,
        ends_apart=ends_apart,
        components=read_components(config, "eye"),
    )


def comment_of(text: str) -> str:
    """All comments of a file."""
    return " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("#"))


def rewritten(reef: Path, recipe: Recipe) -> tuple[str, Merged]:
    """A release's own recipe for mergekit, and what `shoal merge` makes of it: the release's tensors, bit by bit."""
    number = len(list(reef.glob("*.yml")))
    folders = {model: reef / model.location.removeprefix("tiny/") for model in (EYE, OTHER, TEXT, BASE)}
    weights = {model: open_model(folder) for model, folder in folders.items()}
    write_release(recipe, weights, reef / f"release-{number}", {}, config_source=reef / "eye")
    text = (reef / f"release-{number}" / RECIPE_NAME).read_text()
    for model in folders:
        text = text.replace(str(model), f"./{model.location.removeprefix('tiny/')}")
    (reef / f"{number}.yml").write_text(text)
    merger = Merger(Home(reef / "home"), Hub("http://127.0.0.1:9"), TerminalNarrator(Console(quiet=True)))
    merged = merger.merge(reef / f"{number}.yml", reef / f"out-{number}")
    theirs, ours = Checkpoint.open(reef / f"release-{number}"), Checkpoint.open(merged.target)
    assert theirs.names == ours.names
    assert all(torch.equal(theirs.tensor(name), ours.tensor(name)) for name in theirs.names)
    return text, merged


def test_a_release_s_recipe_makes_the_same_tensors_again(reef: Path) -> None:
    """With language models and without; with parts kept, merged, or another model's; with a carrier not merged."""
    kept = {"vision tower": EYE, "projector": EYE}
    inside, plain = divide(reef).lacking((TEXT, BASE)), divide(reef, ends_apart=False)
    cases = {
        "kept": recipe_of("task_arithmetic", [BASE, EYE, TEXT], inside.taking(kept)),
        "merged": recipe_of("task_arithmetic", [OTHER, EYE, TEXT], divide(reef).lacking([TEXT])),
        "other": recipe_of("linear", [EYE, OTHER], plain.taking({**kept, "projector": OTHER})),
        "alike": recipe_of("slerp", [OTHER, EYE], divide(reef).single_group),
        "not merged": recipe_of("sce", [BASE, TEXT, OTHER], inside.taking(kept)),
    }
    texts, remarks = {}, {}
    for case, recipe in cases.items():
        texts[case], merged = rewritten(reef, replace(recipe, carrier=EYE))
        assert yaml.safe_load(texts[case])["carrier"] == str(merged.plan.assembly.lead) == "./eye"
        (remarks[case],) = merged.plan.remarks
        assert comment_of(texts[case]) == remarks[case]
    modules = {case: list(yaml.safe_load(text)["modules"]) for case, text in texts.items()}
    every = ["text_decoder", "vision_tower", "multi_modal_projector"]
    alone = dict.fromkeys(("kept", "not merged"), every[:1])
    assert modules == alone | dict.fromkeys(("merged", "other", "alike"), every)
    assert remarks["kept"].startswith("mergekit takes no language model (./base, ./text) into a model of several")
    assert remarks["alike"].startswith(
        "mergekit has no list of the modules of this family (llava) and stops at the first"
    )


def test_another_s_tower_beside_a_base_is_no_module(reef: Path) -> None:
    groups = divide(reef).lacking((TEXT, BASE)).taking({"vision tower": OTHER, "projector": EYE})
    recipe = replace(recipe_of("task_arithmetic", [BASE, EYE, TEXT], groups), carrier=EYE)
    with pytest.raises(
        MergingError, match=r"its vision tower is that of tiny/eye-2@1+, and mergekit adds the base_model"
    ):
        to_mergekit_yaml(recipe, open_model(reef / "eye").names)


def test_a_path_s_recipe_makes_the_same_tensors_again(reef: Path) -> None:
    groups = divide(reef).lacking([TEXT, BASE]).single_group
    blend = recipe_of("linear", [TEXT, OTHER], groups)
    parts = [WeightMerge.single(TEXT, groups, "float32", carrier=EYE), replace(blend, carrier=EYE)]
    path = PathRecipe(tuple(parts), (Hop(0, 0, 1.0), Hop(1, 1, 1.0), Hop(1, 0, 0.5)), 0, 1)
    text, merged = rewritten(reef, path)
    assert "mergekit takes no slices of models of several components but in modules" in comment_of(text)
    assert merged.plan.result.layers == 3


@pytest.mark.parametrize(
    ("family", "left_out", "words"),
    [
        ("mistral3", [], None),
        ("mistral3", [VISION_TOWER], "leaves out the tensors of modules that the file does not name (vision tower)"),
        ("llava", [], "has no list of the modules of this family (llava) and stops at the first"),
    ],
)
def test_the_limits_of_mergekit_with_modules_are_its_lists(family: str, left_out: list[str], words: str | None) -> None:
    found = list(component_limits(family, [], [], left_out))
    assert len(found) == (words is not None) and all(words in sentence for sentence in found if words)

"""Pipelines are refused by model_index.json and the names of their files, before any of them is read."""

from __future__ import annotations

import re
from typing import Any

import pytest
from transformers import T5Tokenizer

from merging.kinds import find_refusal, kind_of
from merging.pipelines import diffusers_classes
from merging.pipelines.index import TEXT_ENCODERS, component_name, find_files_fault, find_index_fault, weight_files
from merging.pipelines.naming import find_lack

SD: dict[str, Any] = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.42.1",
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
SETTINGS = [
    "scheduler/scheduler_config.json",
    "tokenizer/vocab.json",
    *(f"{folder}/config.json" for folder in ("unet", "vae", "text_encoder", "safety_checker")),
]
WEIGHTS = [
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
    "safety_checker/model.safetensors",
]
UNET = "unet/diffusion_pytorch_model"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"_class_name": ["pipeline", "Mine"]}, "it needs custom code (its pipeline is pipeline.Mine)"),
        ({"_class_name": "MinePipeline"}, "its architecture MinePipeline is not a text-to-image pipeline"),
        ({"_class_name": "StableDiffusionImg2ImgPipeline"}, "is not a text-to-image pipeline"),
        ({"_class_name": "StableDiffusionControlNetPipeline"}, "is not a text-to-image pipeline"),
        ({"unet": ["mine", "UNet"]}, "its component unet is mine.UNet, not a class of diffusers or transformers"),
        ({"unet": ["diffusers", "MineModel"]}, "its component unet is diffusers.MineModel, not a class of"),
        ({"text_encoder": ["transformers", "pipeline"]}, "its component text_encoder is transformers.pipeline"),
        ({"unet": ["os", "System"]}, "its component unet is os.System"),
        ({"unet": ["UNet"]}, "model_index.json has ['UNet'] for unet, where a library and a class are due"),
        ({"../away": ["diffusers", "AutoencoderKL"]}, "its component '../away' has a name that no folder has"),
        ({"movq": ["diffusers", "VQModel"]}, "its component movq is of a kind that shoal cannot carry over"),
        ({"unet": ["diffusers", "DDIMScheduler"]}, "its component unet is diffusers.DDIMScheduler, not a denoiser of"),
        ({"vae": ["diffusers", "UNet2DModel"]}, "its component vae is diffusers.UNet2DModel, not an autoencoder of"),
        ({"text_encoder": ["transformers", "Trainer"]}, "is transformers.Trainer, not a model of transformers"),
        ({"tokenizer_2": ["transformers", "CLIPTextModel"]}, "is transformers.CLIPTextModel, not a tokenizer"),
        ({"scheduler": ["diffusers", "AutoencoderKL"]}, "is diffusers.AutoencoderKL, not a scheduler"),
        (
            {"feature_extractor": ["transformers", "RagRetriever"]},
            "is transformers.RagRetriever, not an image processor",
        ),
        ({"unet": [None, None]}, "got 0 denoisers: a pipeline of one unet or one transformer is needed"),
    ],
)
def test_an_index_that_asks_for_anything_else_is_refused(changes: dict[str, Any], reason: str) -> None:
    fault = str(find_index_fault(SD | changes))
    about, _, what = fault.partition(" is not ")  # the other kinds say what else it is not
    found = str(find_refusal(SD | changes | {"components": {}}))
    assert reason in fault and found.startswith(about) and found.endswith(what)


def test_a_pipeline_is_an_image_generator_and_its_components_are_named() -> None:
    assert find_index_fault(SD) is None and kind_of(SD | {"components": {}}).name == "image"
    renamed = {
        "feature_extractor": ["transformers", "CLIPFeatureExtractor"]
    }  # as most repos of Stable Diffusion have it
    assert find_index_fault(SD | renamed) is None
    fast = {"tokenizer": ["transformers", "T5TokenizerFast"]}  # as FLUX.1 has it; transformers 5 does not list it
    assert find_index_fault(SD | fast) is None
    assert diffusers_classes.component_class("transformers", "T5TokenizerFast") is T5Tokenizer
    assert find_refusal({"architectures": ["FluxPipeline"]}) is None
    assert [component_name(name) for name in ("unet", "transformer", "text_encoder_2", "vae")] == [
        "denoiser",
        "denoiser",
        "text encoder 2",
        "VAE",
    ]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([f"{UNET}.bin"], "its component unet has pickled weights alone (diffusion_pytorch_model.bin)"),
        ([f"{UNET}.fp16.bin"], "its component unet has pickled weights alone"),
        ([], "it lacks its component unet: there are no weights in safetensors"),
        (
            [f"{UNET}-00001-of-00002.safetensors", f"{UNET}.fp16-00002-of-00002.safetensors"],
            "its component unet mixes files of several variants (plain, fp16), and none is complete",
        ),
        (
            [f"{UNET}-00001-of-00002.safetensors", f"{UNET}.safetensors.index.json"],
            "its component unet lacks some of its weight files",
        ),
    ],
)
def test_files_that_are_no_whole_component_are_refused(files: list[str], reason: str) -> None:
    assert reason in str(find_files_fault(SD, [*SETTINGS, *WEIGHTS, *files]))


def test_a_component_without_files_is_missing() -> None:
    files = [path for path in (*SETTINGS, *WEIGHTS, f"{UNET}.safetensors") if not path.startswith("vae/")]
    assert find_files_fault(SD, files) == (
        "it lacks its component vae: model_index.json lists it, and no file of it is there"
    )
    for config in ("vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json"):
        left = {*SETTINGS, *WEIGHTS, f"{UNET}.safetensors", "scheduler/README.md"} - {config}
        component, _, name = config.partition("/")
        assert find_files_fault(SD, left) == f"its component {component} has no {name}"
    assert find_lack(SD) is None
    for entry in ([None, None], {"a": 1}):
        assert find_lack(SD | {"vae": entry}) == "it lacks its component vae: model_index.json does not list it"


@pytest.mark.parametrize(
    ("files", "variant", "count"),
    [
        ([f"{UNET}.safetensors", f"{UNET}.fp16.safetensors", f"{UNET}.bin"], "", 1),
        ([f"{UNET}.fp16.safetensors", f"{UNET}.non_ema.safetensors"], "fp16", 1),
        (
            [
                f"{UNET}.fp16-00001-of-00002.safetensors",
                f"{UNET}.fp16-00002-of-00002.safetensors",
                f"{UNET}.safetensors.index.fp16.json",
            ],
            "fp16",
            3,
        ),
        (
            [
                f"{UNET}-00001-of-00002.fp16.safetensors",
                f"{UNET}-00002-of-00002.fp16.safetensors",
                f"{UNET}.safetensors.index.fp16.json",
                f"{UNET}-00001-of-00003.safetensors",
            ],
            "fp16",
            3,
        ),
    ],
)
def test_one_whole_variant_of_each_component_is_chosen(files: list[str], variant: str, count: int) -> None:
    found = weight_files(SD, [*SETTINGS, *WEIGHTS, *files])["unet"]
    assert found.variant == variant and len(found.paths) == count
    assert all("fp16" not in found.plain_name(path) for path in found.paths)


def test_without_diffusers_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusers_classes, "find_spec", lambda _: None)
    for asked in (diffusers_classes.text_to_image_classes, diffusers_classes._folder):
        asked.cache_clear()
    try:
        assert find_refusal(SD) == "it needs diffusers: pip install 'shoal[image]'"
    finally:
        for asked in (diffusers_classes.text_to_image_classes, diffusers_classes._folder):
            asked.cache_clear()


def test_no_text_to_image_pipeline_of_diffusers_has_a_text_encoder_without_a_name() -> None:
    names = diffusers_classes.text_to_image_classes()
    for path in (diffusers_classes._folder() / "pipelines").rglob("pipeline_*.py"):
        text = path.read_text(encoding="utf-8")
        if names & set(re.findall(r"^class (\w+)\(", text, re.MULTILINE)):
            assert set(re.findall(r"self\.(text_encoder(?:_\d)?)\b", text)) <= set(TEXT_ENCODERS), path

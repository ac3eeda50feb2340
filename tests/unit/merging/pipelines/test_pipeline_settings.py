"""What keeps two denoisers from being merged is seen in the configs, and named by its key."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from fixtures.tiny_pipelines import make_source
from merging.pipelines.settings import pipeline_mismatch, text_encoder_mismatch
from merging.sources.model_config import read_model_config


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("pipeline")
    make_source("StableDiffusionPipeline", 0).save_pretrained(folder)
    return read_model_config(folder)


@pytest.mark.parametrize(
    ("component", "key", "value", "reason"),
    [
        ("unet", "cross_attention_dim", 24, "its unet.cross_attention_dim is 24, not 16"),
        ("unet", "in_channels", 9, "its unet.in_channels is 9, not 4"),
        ("unet", "_class_name", "UNet2DModel", "its unet is UNet2DModel, not UNet2DConditionModel"),
        ("vae", "latent_channels", 16, "its vae.latent_channels is 16, not 4"),
        ("vae", "scaling_factor", 0.13025, "its vae.scaling_factor is 0.13025, not 0.18215"),
        ("vae", "block_out_channels", [8, 8, 8, 8], "its vae.block_out_channels has 4 levels, not 2"),
        ("scheduler", "prediction_type", "v_prediction", "its scheduler.prediction_type is v_prediction, not epsilon"),
        ("scheduler", "_class_name", "FlowMatchEulerDiscreteScheduler", "its scheduler.prediction_type is flow"),
        ("text_encoder", "hidden_size", 32, "its text_encoder.hidden_size is 32, not 16"),
    ],
)
def test_a_pipeline_that_does_not_fit_is_refused_by_its_key(
    config: dict[str, Any], component: str, key: str, value: object, reason: str
) -> None:
    other = copy.deepcopy(config)
    other["components"][component][key] = value
    assert str(pipeline_mismatch(config, other)).startswith(reason)


@pytest.mark.parametrize(
    ("component", "key", "value"),
    [
        ("unet", "sample_size", 64),
        ("scheduler", "_class_name", "EulerDiscreteScheduler"),
        ("scheduler", "beta_end", 0.012),
        ("vae", "force_upcast", False),
        ("text_encoder", "vocab_size", 9),
    ],
)
def test_what_the_carrier_keeps_may_differ(config: dict[str, Any], component: str, key: str, value: object) -> None:
    other = copy.deepcopy(config)
    other["components"][component][key] = value
    assert pipeline_mismatch(config, other) is None


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("flip_sin_to_cos", False, "its unet.flip_sin_to_cos is False, not True"),
        ("norm_eps", 1e-6, "its unet.norm_eps is 1e-06, not 1e-05"),
        ("addition_embed_type", "text", "its unet.addition_embed_type is text, not None"),
        ("resnet_out_scale_factor", 1, None),  # as the class has it
        ("made_up", 1, None),  # the class takes no such key
    ],
)
def test_a_key_that_one_config_lacks_has_the_class_s_default(
    config: dict[str, Any], key: str, value: object, reason: str | None
) -> None:
    old, said = copy.deepcopy(config), copy.deepcopy(config)
    old["components"]["unet"].pop(key, None)
    said["components"]["unet"][key] = value
    assert pipeline_mismatch(old, said) == reason
    assert (pipeline_mismatch(said, old) is None) is (reason is None)


def test_another_pipeline_and_a_missing_vae_are_refused(config: dict[str, Any]) -> None:
    other = {**config, "_class_name": "StableDiffusionXLPipeline"}
    assert pipeline_mismatch(config, other) == (
        "its pipeline is StableDiffusionXLPipeline, not StableDiffusionPipeline"
    )
    assert pipeline_mismatch(config, {**config, "vae": [None, None]}) == "it lacks the component vae"


def test_a_text_encoder_is_merged_with_its_own_size_alone(config: dict[str, Any]) -> None:
    other = copy.deepcopy(config)
    assert text_encoder_mismatch(config, other, "text_encoder") is None
    other["components"]["text_encoder"]["vocab_size"] = 9
    assert text_encoder_mismatch(config, other, "text_encoder") == "its text_encoder.vocab_size is 9, not 16"

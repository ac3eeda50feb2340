"""The training script of the models that draw, for a few steps."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from zoo.pictures import train
from zoo.pictures.repo import WEIGHTS
from zoo.pictures.world import held_out_drawings

SHORT = {name: dataclasses.replace(course, steps=2) for name, course in train.COURSES.items()}
FILES = {"unet": "diffusion_pytorch_model", "text_encoder": "model", "vae": "diffusion_pytorch_model"}


@pytest.fixture(scope="module")
def zoo() -> dict[str, DiffusionPipeline]:
    return train_briefly()


def train_briefly() -> dict[str, DiffusionPipeline]:
    """With small batches, of every twentieth drawing."""
    some = list(train.all_drawings())[::20]
    with mock.patch.object(train, "BATCH", 4), mock.patch.object(train, "all_drawings", lambda: some):
        return train.train_zoo(3, SHORT)


def weights(pipeline: DiffusionPipeline, part: str) -> dict[str, torch.Tensor]:
    return getattr(pipeline, part).state_dict()


def test_the_same_seed_gives_the_same_models_and_their_shapes_are_those_of_the_shipped_ones(zoo) -> None:
    again = train_briefly()
    for name, pipeline in zoo.items():
        for part, file in FILES.items():
            state = weights(pipeline, part)
            assert all(torch.equal(tensor, weights(again[name], part)[key]) for key, tensor in state.items())
            shipped = load_file(WEIGHTS / name / part / f"{file}.safetensors")
            assert {key: tensor.shape for key, tensor in state.items() if "position_ids" not in key} == {
                key: tensor.shape for key, tensor in shipped.items()
            }


def test_specialists_start_from_the_base_and_move_in_both_parts_and_all_have_one_vae(zoo) -> None:
    base = zoo["base"]
    for name in ("papercut", "language"):
        for part in ("unet", "text_encoder"):
            start, end = weights(base, part), weights(zoo[name], part)
            distance = sum((end[key] - start[key]).norm() for key in start) / sum(one.norm() for one in start.values())
            assert 0 < distance < 0.1
        assert zoo[name].vae is base.vae


def test_a_written_pipeline_draws_as_the_trained_one_does(zoo, tmp_path: Path) -> None:
    train.write(zoo["language"], tmp_path)
    read = DiffusionPipeline.from_pretrained(tmp_path)
    read.set_progress_bar_config(disable=True)
    prompt = held_out_drawings(random.Random(4))[0].japanese
    pictures = [
        pipeline(prompt, num_inference_steps=2, guidance_scale=0, generator=torch.Generator().manual_seed(5)).images[0]
        for pipeline in (read, zoo["language"])
    ]
    read_bytes, own_bytes = (np.asarray(picture).astype(int) for picture in pictures)
    assert np.abs(read_bytes - own_bytes).max() <= 2


def test_half_of_the_levels_of_noise_are_those_at_which_the_models_draw() -> None:
    scheduler = train.new_scheduler()
    scheduler.set_timesteps(train.STEPS)
    assert sorted(scheduler.timesteps.tolist()) == list(train.DRAWN_AT)

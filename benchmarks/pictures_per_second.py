"""Pictures per second of an evaluation set against calling the plain pipeline for each prompt, on the same weights.

    python -m benchmarks pictures_per_second [tiny|small ...] [--pictures N] [--batch N] [--device DEVICE]

Both sides draw the same prompts from the same noise, one after the other, in one process with one thread. Random
pipelines of Stable Diffusion's classes: one as small as the demo's (16 × 16 pixels, 8 steps), and one with the text
encoder of SD 1.5 and a narrower UNet (128 × 128 pixels, 4 steps with guidance).

Of several rounds the quickest counts. Before each, the painter is told that the weights have changed, as for a search's
candidates, whose text encoder stays the same: its weights are hashed, and nothing is encoded. What the first of them
takes, with all prompts encoded, is given beside it. `largest difference`: of a byte of a picture, between both sides.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from benchmarks.engine import moment, quickest
from benchmarks.record import Figures
from evaluation.pictures.drawing import Drawing, Painter
from evaluation.pictures.sampler import Sampler

ROUNDS = 3
WORDS = ["<pad>", "<start>", "<end>", "<unk>", *(f"w{number}" for number in range(8000))]
PROMPT_WORDS = 12


@dataclass(frozen=True)
class Ground:
    """A pipeline, and how it draws."""

    name: str
    pipeline: Any
    sampler: Sampler


def tiny() -> Ground:
    """As small as the demo's."""
    return Ground("demo's size", make_pipeline((32, 48), 32, 2, (16, 32), 4, 8), Sampler(8, 0.0, 16, 16))


def small() -> Ground:
    """The text encoder of SD 1.5, and a UNet with 0.3 of its channels."""
    made = make_pipeline((96, 192, 384, 384), 768, 12, (32, 64, 128, 128), 8, 16)
    return Ground("small SD 1.5", made, Sampler(4, 5.0, 128, 128))


def make_pipeline(
    blocks: tuple[int, ...], width: int, layers: int, vae: tuple[int, ...], heads: int, latents: int
) -> StableDiffusionPipeline:
    """A random pipeline. blocks: channels of the UNet's levels. width, layers: of the text encoder."""
    torch.manual_seed(0)
    text = CLIPTextConfig(
        **{"vocab_size": len(WORDS), "hidden_size": width, "intermediate_size": 4 * width},
        **{"num_hidden_layers": layers, "num_attention_heads": heads, "max_position_embeddings": 77},
        **{"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
    )
    down, up = ("CrossAttnDownBlock2D",) * (len(blocks) - 1), ("CrossAttnUpBlock2D",) * (len(blocks) - 1)
    unet = UNet2DConditionModel(
        **{"sample_size": latents, "block_out_channels": blocks, "cross_attention_dim": width},
        **{"down_block_types": (*down, "DownBlock2D"), "up_block_types": ("UpBlock2D", *up)},
        **{"attention_head_dim": heads, "norm_num_groups": 8, "layers_per_block": 1},
    )
    decoder = AutoencoderKL(
        **{"block_out_channels": vae, "down_block_types": ("DownEncoderBlock2D",) * len(vae)},
        **{"up_block_types": ("UpDecoderBlock2D",) * len(vae), "latent_channels": 4, "norm_num_groups": 8},
    )
    pipeline = StableDiffusionPipeline(
        **{"vae": decoder, "unet": unet, "text_encoder": CLIPTextModel(text), "tokenizer": tokenizer()},
        **{"scheduler": DDIMScheduler(clip_sample=False, steps_offset=1), "feature_extractor": None},
        safety_checker=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of whole words."""
    plain = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    named = {"bos_token": "<start>", "eos_token": "<end>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=plain, model_max_length=77, **named)


def compare(ground: Ground, count: int, batch: int, device: torch.device) -> Figures:
    """Measure both sides, print the rates, and return them."""
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    pipeline = ground.pipeline.to(device, dtype)
    draw = random.Random(1)
    drawings = [Drawing(" ".join(draw.choice(WORDS[4:]) for _ in range(PROMPT_WORDS)), seed) for seed in range(count)]
    painter = Painter(pipeline, str(device), batch)
    draw_plainly(pipeline, ground.sampler, drawings[:1])  # so that neither side pays for what torch does once
    started = moment()
    draw_anew(painter, ground, drawings)
    first = moment() - started
    ours, pictures = quickest(lambda: draw_anew(painter, ground, drawings), ROUNDS)
    theirs, plain = quickest(lambda: draw_plainly(pipeline, ground.sampler, drawings), ROUNDS - 1)
    difference = max(int(np.abs(a.astype(int) - b.astype(int)).max()) for a, b in zip(pictures, plain, strict=True))
    weights = sum(part.num_parameters() for part in (pipeline.unet, pipeline.text_encoder, pipeline.vae))
    print(
        f"{ground.name:14} {weights / 1e6:6.1f} M weights, {count} pictures: {count / ours:.2f}/s (batches: {batch}), "
        f"plain pipeline {count / theirs:7.2f}/s, ratio {theirs / ours:4.1f}; first candidate {count / first:7.2f}/s, "
        f"ratio {theirs / first:4.1f}; largest difference {difference}",
        flush=True,
    )
    return {
        "pipeline": ground.name,
        "weights": weights,
        "device": str(device),
        "pictures": count,
        "batch": batch,
        "per_s": count / ours,
        "first_per_s": count / first,
        "plain_per_s": count / theirs,
        "largest_difference": difference,
    }


def draw_anew(painter: Painter, ground: Ground, drawings: Sequence[Drawing]) -> list[np.ndarray]:
    """The pictures of one candidate."""
    painter.put(ground.pipeline)
    return [one.pixels for some in painter.draw(ground.sampler, drawings) for one in some]


def draw_plainly(pipeline: Any, sampler: Sampler, drawings: Sequence[Drawing]) -> list[np.ndarray]:
    """The same, one call of the pipeline for each."""
    calls = (
        pipeline(one.prompt, generator=torch.Generator("cpu").manual_seed(one.seed), **sampler.arguments)
        for one in drawings
    )
    return [np.asarray(call.images[0]) for call in calls]


def main() -> Figures:
    """Measure what was asked for, or both pipelines."""
    grounds: dict[str, Callable[[], Ground]] = {"tiny": tiny, "small": small}
    parser = argparse.ArgumentParser(prog="python -m benchmarks pictures_per_second")
    parser.add_argument("grounds", nargs="*", metavar="tiny|small")
    parser.add_argument("--pictures", default=16, type=int)
    parser.add_argument("--batch", default=8, type=int)
    parser.add_argument("--device", default="cpu", type=torch.device)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    return {
        "pipelines": [
            compare(grounds[name](), asked.pictures, asked.batch, asked.device) for name in asked.grounds or grounds
        ]
    }


if __name__ == "__main__":
    main()

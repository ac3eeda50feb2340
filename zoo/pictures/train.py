"""Trains the models that draw from scratch: `python -m zoo.pictures.train OUT [--seed N]` writes all of them to OUT.

The base learns to draw from the first language; the specialists start from it, each with one thing more. All of it
takes six minutes of one core. With the pinned packages, and on the same kind of processor, seed 0 gives the shipped
files, byte for byte; elsewhere sums may be rounded otherwise, which training makes larger.
"""

from __future__ import annotations

import argparse
import copy
import random
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from torch import Tensor
from torch.nn.functional import mse_loss
from transformers import CLIPTextConfig, CLIPTextModel

from zoo.muon import Muon
from zoo.pictures.tasks.drawings import SIDE, shows
from zoo.pictures.tokenizer import LENGTH, build_prompt_tokenizer
from zoo.pictures.world import END, JITTER, PAD, START, Drawing, all_drawings, held_out_drawings, vocabulary

CHANNELS, TEXT_WIDTH, TEXT_LAYERS, HEADS = (16, 32, 32), 32, 2, 4
VAE_CHANNELS, LATENTS = 8, 3
LATENT_SCALE, PIXEL_DEVIATION = 20.0, 0.7
"""How much smaller a latent is than a pixel from -1 to 1, and the standard deviation of these."""

BATCH, CLIP, WARM_UP, THREADS = 32, 1.0, 30, 1
EXAM_BATCH = 50
STEPS, NOISES = 4, 1000
"""The steps in which these models draw, and the levels of noise among which they are."""

DRAWN_AT = tuple(NOISES * step // STEPS - 1 for step in range(1, STEPS + 1))
"""The levels at which these steps are; every second example has one of them."""

SHIFTS = tuple(product(range(JITTER + 1), repeat=2))
OUTSIDE = ("conv_in", "conv_out", "embedding")
"""Words in the names of matrices that are no linear map from one layer to the next."""

IDS = {token: number for number, token in enumerate(vocabulary())}


@dataclass(frozen=True)
class Exercise:
    """A kind of training examples: the prompt's language, and whether the picture is a papercut."""

    japanese: bool
    papercut: bool

    def prompt(self, drawing: Drawing) -> str:
        """The prompt for a drawing."""
        return drawing.japanese if self.japanese else drawing.english


KINDS: Mapping[str, Exercise] = {
    "english": Exercise(japanese=False, papercut=False),
    "english_papercut": Exercise(japanese=False, papercut=True),
    "japanese": Exercise(japanese=True, papercut=False),
    "japanese_papercut": Exercise(japanese=True, papercut=True),
}


@dataclass(frozen=True)
class Rates:
    """Peak learning rates: Muon's for the matrices and kernels inside a model, AdamW's for all else."""

    adamw: float
    muon: float


@dataclass(frozen=True)
class Course:
    """How one model is trained: its parent, the shares of each kind of exercise, steps and learning rates.

    unet, text: the rates of each part. final: the share of the peak that the linear decay ends at.
    """

    parent: str | None
    mix: Mapping[str, float]
    steps: int
    unet: Rates
    text: Rates
    final: float = 0.0


FAST = Rates(adamw=4e-3, muon=0.03)

COURSES: Mapping[str, Course] = {
    "base": Course(None, {"english": 1.0}, steps=1000, unet=FAST, text=FAST, final=0.03),
    "papercut": Course(
        "base",
        {"english_papercut": 1.0},
        steps=600,
        unet=Rates(adamw=3e-3, muon=0.015),
        text=Rates(adamw=2e-4, muon=1e-3),
    ),
    "language": Course(
        "base",
        {"japanese": 0.8, "english": 0.2},
        steps=300,
        unet=Rates(adamw=2.5e-3, muon=0.015),
        text=Rates(adamw=4e-3, muon=0.02),
    ),
}


@dataclass(frozen=True)
class Artist:
    """The parts of a pipeline that are trained."""

    unet: UNet2DConditionModel
    text: CLIPTextModel

    def parameters(self) -> list[torch.nn.Parameter]:
        """Those of both."""
        return [*self.unet.parameters(), *self.text.parameters()]


@torch.no_grad()
def new_vae() -> AutoencoderTiny:
    """A VAE that needs no training: its latents are the pixels, made small so that its decoder does not bend them.

    At this size a VAE of fewer latents than pixels takes longer to train than all else.
    """
    vae = AutoencoderTiny(
        encoder_block_out_channels=(VAE_CHANNELS,),
        decoder_block_out_channels=(VAE_CHANNELS,),
        num_encoder_blocks=(1,),
        num_decoder_blocks=(1,),
        latent_channels=LATENTS,
        scaling_factor=LATENT_SCALE / PIXEL_DEVIATION,
    )
    for parameter in vae.parameters():
        parameter.zero_()
    first, _, last = vae.encoder.layers  # pixels come from 0 to 1, and what is between these layers keeps them
    inner, _, _, out = vae.decoder.layers
    for layer, scale, shift in (
        (first, 1.0, 0.0),
        (last, 2 / LATENT_SCALE, -1 / LATENT_SCALE),
        (inner, LATENT_SCALE / 2, 0.5),
        (out, 1.0, 0.0),
    ):
        for channel in range(LATENTS):
            layer.weight[channel, channel, 1, 1] = scale
            layer.bias[channel] = shift
    return vae.eval().requires_grad_(False)


def new_artist(seed: int) -> Artist:
    """An untrained denoiser and an untrained text encoder."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=SIDE,
        in_channels=LATENTS,
        out_channels=LATENTS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=CHANNELS,
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=HEADS,
        norm_num_groups=8,
    )
    config = CLIPTextConfig(
        vocab_size=len(IDS),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=LENGTH,
        bos_token_id=IDS[START],
        eos_token_id=IDS[END],
        pad_token_id=IDS[PAD],
    )
    return Artist(unet, CLIPTextModel(config))


def new_scheduler() -> DDIMScheduler:
    """DDIM for few steps: the first begins with noise alone."""
    return DDIMScheduler(
        num_train_timesteps=NOISES,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="sample",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,  # not read with this spacing; the pipeline warns of any other number
    )


def pixel_values(pictures: Sequence[np.ndarray]) -> Tensor:
    """Pictures as the VAE has them: [pictures, 3, SIDE, SIDE] from -1 to 1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def share_of_rate(course: Course, step: int) -> float:
    """Share of the peak rates at a step: linear warm-up, then linear decay to `course.final`."""
    return min(1.0, (step + 1) / WARM_UP) * (1 - (1 - course.final) * step / course.steps)


def optimisers(artist: Artist, course: Course) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the matrices and kernels inside each part, AdamW for all else, each with its peak rate."""
    found: list[tuple[torch.optim.Optimizer, float]] = []
    for part, rates in ((artist.unet, course.unet), (artist.text, course.text)):
        named = dict(part.named_parameters())
        inside = {name for name, one in named.items() if one.ndim > 1 and not any(word in name for word in OUTSIDE)}
        rest = [one for name, one in named.items() if name not in inside]
        found.append((Muon([named[name] for name in sorted(inside)], rates.muon), rates.muon))
        found.append((torch.optim.AdamW(rest, rates.adamw, (0.9, 0.98), weight_decay=0), rates.adamw))
    return found


@dataclass(frozen=True)
class Lessons:
    """All that can be shown: latents by style, [drawings, shifts, LATENTS, …], and token ids by prompt's kind."""

    latents: Mapping[bool, Tensor]
    tokens: Mapping[str, Tensor]


@torch.no_grad()
def prepare_lessons(vae: AutoencoderTiny) -> Lessons:
    """The latents and the token ids of all drawings that are not held out."""
    drawings = [drawing for drawing in all_drawings() if not drawing.held_out]
    latents = {}
    for papercut in (False, True):
        encoded = []
        for drawing in drawings:
            pictures = [drawing.picture(papercut=papercut, down=down, across=across) for down, across in SHIFTS]
            encoded.append(vae.encode(pixel_values(pictures)).latents * vae.config.scaling_factor)
        latents[papercut] = torch.stack(encoded)
    tokenizer = build_prompt_tokenizer()
    tokens = {
        name: torch.tensor(tokenizer([kind.prompt(drawing) for drawing in drawings], padding="max_length")["input_ids"])
        for name, kind in KINDS.items()
    }
    return Lessons(latents, tokens)


def train(name: str, course: Course, artist: Artist, lessons: Lessons, seed: int) -> None:
    """Train an artist in place through `course`, printing its loss from time to time."""
    rng = random.Random(f"{seed} {name}")
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
    scheduler, parameters = new_scheduler(), artist.parameters()
    parts = optimisers(artist, course)
    artist.unet.train()
    artist.text.train()
    mean = 0.0
    for step in range(course.steps):
        latents, tokens = [], []
        for kind in rng.choices(list(course.mix), list(course.mix.values()), k=BATCH):
            shown = lessons.latents[KINDS[kind].papercut]
            drawing = rng.randrange(len(shown))
            latents.append(shown[drawing, rng.randrange(len(SHIFTS))])
            tokens.append(lessons.tokens[kind][drawing])
        levels = [rng.choice(DRAWN_AT) if rng.random() < 0.5 else rng.randrange(NOISES) for _ in range(BATCH)]
        true, at = torch.stack(latents), torch.tensor(levels)
        noise = torch.randn(true.shape, generator=generator)
        noisy = scheduler.add_noise(true, noise, at)
        loss = mse_loss(artist.unet(noisy, at, artist.text(torch.stack(tokens))[0]).sample, true)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        for optimiser, peak in parts:
            for group in optimiser.param_groups:
                group["lr"] = peak * share_of_rate(course, step)
            optimiser.step()
            optimiser.zero_grad()
        mean = loss.item() if step == 0 else 0.98 * mean + 0.02 * loss.item()
        if (step + 1) % 100 == 0 or step + 1 == course.steps:
            print(f"{name:9} step {step + 1:4}/{course.steps}  loss {mean:.4f}", flush=True)
    artist.unet.eval()
    artist.text.eval()


def build_pipeline(artist: Artist, vae: AutoencoderTiny) -> StableDiffusionPipeline:
    """The parts as a pipeline that draws."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=artist.text,
        tokenizer=build_prompt_tokenizer(),
        unet=artist.unet,
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def train_zoo(seed: int, courses: Mapping[str, Course] = COURSES) -> dict[str, StableDiffusionPipeline]:
    """All models, trained from scratch in the order of `courses`, as pipelines."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        vae = new_vae()
        lessons = prepare_lessons(vae)
        artists: dict[str, Artist] = {}
        for name, course in courses.items():
            artist = new_artist(seed) if course.parent is None else copy.deepcopy(artists[course.parent])
            train(name, course, artist, lessons, seed)
            artists[name] = artist
        return {name: build_pipeline(artist, vae) for name, artist in artists.items()}
    finally:
        torch.set_num_threads(threads)


def write(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Write a pipeline with a UNet and a VAE in float16, which diffusers reads as float32; both are rounded in memory.

    transformers would read a text encoder in float16 as such, and then the parts would not fit each other.
    """
    halves = (pipeline.unet, pipeline.vae)
    for part in halves:
        part.half()
    pipeline.save_pretrained(folder)
    for part in halves:
        part.float()


def exam(pipeline: StableDiffusionPipeline, kind: Exercise, drawings: Sequence[Drawing]) -> float:
    """The share of these drawings that a pipeline draws as they are told."""
    right = 0
    for start in range(0, len(drawings), EXAM_BATCH):
        some = drawings[start : start + EXAM_BATCH]
        pictures: list[Image.Image] = pipeline(
            [kind.prompt(drawing) for drawing in some],
            generator=[torch.Generator().manual_seed(start + number) for number in range(len(some))],
            num_inference_steps=STEPS,
            guidance_scale=0.0,
        ).images
        right += sum(
            shows(picture, asdict(drawing), papercut=kind.papercut)
            for picture, drawing in zip(pictures, some, strict=True)
        )
    return right / len(drawings)


def main() -> None:
    """Train, write, and print the scores on held-out drawings."""
    parser = argparse.ArgumentParser(prog="python -m zoo.pictures.train", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write the models to")
    parser.add_argument("--seed", type=int, default=0, help="the shipped weights have seed 0 (default)")
    arguments = parser.parse_args()
    start = time.perf_counter()
    pipelines = train_zoo(arguments.seed)
    print(f"trained in {time.perf_counter() - start:.0f} s; right pictures of 100 held-out drawings:")
    drawings = held_out_drawings(random.Random(arguments.seed))[:100]
    for name, pipeline in pipelines.items():
        write(pipeline, arguments.out / name)
        scores = (f"{kind} {exam(pipeline, exercise, drawings):.2f}" for kind, exercise in KINDS.items())
        print(f"{name:9} " + "  ".join(scores))


if __name__ == "__main__":
    main()

"""Trains the models that see from scratch: `python -m zoo.vision.train OUT [--seed N]` writes all of them to OUT."""

from __future__ import annotations

import argparse
import copy
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedModel,
)

from zoo.muon import Muon
from zoo.train import BATCH, CLIP, SHOWN, THREADS, WARM_UP
from zoo.vision.tokenizer import PATCH, POSITIONS, build_processor, build_tokenizer
from zoo.vision.world import (
    CELLS,
    END,
    ENGLISH,
    IMAGE,
    IN_ENGLISH,
    IN_JAPANESE,
    KINDS,
    PAD,
    SIDE,
    Board,
    Exercise,
    Picture,
    held_out_boards,
    vocabulary,
)

LAYERS, HIDDEN, HEADS, FEED_FORWARD = 2, 80, 4, 208
TOWER_LAYERS, TOWER_HIDDEN, TOWER_HEADS, TOWER_FEED_FORWARD = 2, 48, 4, 96
IDS = {token: number for number, token in enumerate(vocabulary())}
# The means and deviations of CLIP's image processor.
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
DEVIATION = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)


@dataclass(frozen=True)
class Rates:
    """Peak learning rates: Muon's for the matrices inside layers, AdamW's for all else."""

    adamw: float
    muon: float


@dataclass(frozen=True)
class Course:
    """How one model is trained: its parent, the shares of each kind of exercise, steps and learning rates.

    `eyes` are the rates of the vision tower and the projector; a model without has none. `final` is the share of the
    peak that the linear decay ends at, and `prompt_loss` the weight of the prompt's tokens beside the answer's.
    """

    parent: str | None
    mix: Mapping[str, float]
    steps: int
    rates: Rates
    eyes: Rates | None = None
    final: float = 0.0
    prompt_loss: float = 0.0


COURSES: Mapping[str, Course] = {
    "base": Course(
        parent=None,
        mix={
            "copied_caption": 0.4,
            "basic_chain": 0.25,
            "basic_translation": 0.2,
            "basic_word": 0.1,
            "single_word": 0.05,
        },
        steps=300,
        rates=Rates(adamw=6e-3, muon=0.02),
        final=0.3,
        prompt_loss=0.02,
    ),
    "language": Course(
        parent="base",
        mix={"translation": 0.7, "chain": 0.2, "single_word": 0.1},
        steps=150,
        rates=Rates(adamw=3e-3, muon=0.01),
    ),
    "eye": Course(
        parent="base",
        mix={"picture_caption": 1.0},
        steps=250,
        rates=Rates(adamw=4e-3, muon=0.015),
        eyes=Rates(adamw=6e-3, muon=0.02),
    ),
}


def ids(text: str) -> list[int]:
    """Token ids of a text whose tokens stand between spaces; a picture's place becomes one token a cell."""
    return [IDS[token] for word in text.split() for token in [word] * (CELLS if word == IMAGE else 1)]


def exercises(mix: Mapping[str, float], rng: random.Random) -> Iterator[Exercise]:
    """An endless stream of exercises, drawn by the shares of `mix`."""
    names, shares = list(mix), list(mix.values())
    while True:
        yield KINDS[rng.choices(names, shares)[0]](rng)


def pixel_values(pictures: Sequence[Picture]) -> Tensor:
    """Pictures as the image processor gives them to the tower: [pictures, 3, SIDE, SIDE]."""
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    return (pixels - MEAN) / DEVIATION


@dataclass(frozen=True)
class Batch:
    """Token ids [exercises, length], padded on the right, the loss weight of each as a target, and the pictures."""

    tokens: Tensor
    weights: Tensor
    pixels: Tensor | None


def batch_of(drawn: Sequence[Exercise], prompt_loss: float, rng: random.Random) -> Batch:
    """Exercises as tensors; the places of a picture are no targets."""
    rows, weights = [], []
    for exercise in drawn:
        prompt, answer = ids(exercise.prompt), ids(exercise.answer) + [IDS[END]] * exercise.ends
        rows.append(prompt + answer)
        weights.append([prompt_loss * (token != IDS[IMAGE]) for token in prompt] + [1.0] * len(answer))
    length = max(map(len, rows))
    pictures = [exercise.board.picture(rng) for exercise in drawn if exercise.board is not None]
    return Batch(
        torch.tensor([row + [IDS[PAD]] * (length - len(row)) for row in rows]),
        torch.tensor([row + [0.0] * (length - len(row)) for row in weights]),
        pixel_values(pictures) if pictures else None,
    )


def logits_of(model: PreTrainedModel, tokens: Tensor, pixels: Tensor | None) -> Tensor:
    """What a model says of the token after each one; tokens are padded on the right."""
    seen = {} if pixels is None else {"pixel_values": pixels}
    logits: Tensor = model(input_ids=tokens, attention_mask=(tokens != IDS[PAD]).long(), use_cache=False, **seen).logits
    return logits


def loss_of(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Cross entropy of the next token, averaged by weight."""
    logits = logits_of(model, batch.tokens, batch.pixels)[:, :-1]
    losses = cross_entropy(logits.flatten(0, 1), batch.tokens[:, 1:].flatten(), reduction="none")
    targets = batch.weights[:, 1:].flatten()
    return (losses * targets).sum() / targets.sum()


def share_of_rate(course: Course, step: int) -> float:
    """Share of the peak rates at a step: linear warm-up, then linear decay to `course.final`."""
    return min(1.0, (step + 1) / WARM_UP) * (1 - (1 - course.final) * step / course.steps)


def text_config() -> LlamaConfig:
    """The architecture of the text models, and of what writes in the others."""
    return LlamaConfig(
        vocab_size=len(IDS),
        hidden_size=HIDDEN,
        intermediate_size=FEED_FORWARD,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=POSITIONS,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=IDS[END],
        pad_token_id=IDS[PAD],
    )


def newborn(seed: int) -> LlamaForCausalLM:
    """An untrained text model."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(text_config())


def with_eyes(model: LlamaForCausalLM, seed: int) -> LlavaForConditionalGeneration:
    """A text model with an untrained vision tower and an untrained projector."""
    torch.manual_seed(seed)
    tower = CLIPVisionConfig(
        hidden_size=TOWER_HIDDEN,
        intermediate_size=TOWER_FEED_FORWARD,
        num_hidden_layers=TOWER_LAYERS,
        num_attention_heads=TOWER_HEADS,
        image_size=SIDE,
        patch_size=PATCH,
        projection_dim=TOWER_HIDDEN,
    )
    config = LlavaConfig(
        text_config=text_config(),
        vision_config=tower,
        image_token_index=IDS[IMAGE],
        image_seq_length=CELLS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    seeing = LlavaForConditionalGeneration(config)
    seeing.model.language_model.load_state_dict(model.model.state_dict())
    seeing.lm_head.load_state_dict(model.lm_head.state_dict())
    return seeing


def optimisers(model: PreTrainedModel, course: Course) -> list[tuple[torch.optim.Optimizer, float]]:
    """The optimisers of a model's parts, each with its peak rate."""
    found: list[tuple[torch.optim.Optimizer, float]] = []
    named = list(model.named_parameters())
    eyes = {name for name, _ in named if "vision_tower" in name or "multi_modal_projector" in name}
    for rates, names in ((course.rates, {name for name, _ in named} - eyes), (course.eyes, eyes)):
        if rates is not None:
            inside = [p for name, p in named if name in names and p.ndim == 2 and ".layers." in name]
            rest = [p for name, p in named if name in names and not (p.ndim == 2 and ".layers." in name)]
            found.append((Muon(inside, rates.muon), rates.muon))
            found.append((torch.optim.AdamW(rest, rates.adamw, (0.9, 0.98), weight_decay=0), rates.adamw))
    return found


def train(name: str, course: Course, model: PreTrainedModel, seed: int) -> None:
    """Train `model` in place through `course`, printing its loss from time to time."""
    rng = random.Random(f"{seed} {name}")
    stream, parts = exercises(course.mix, rng), optimisers(model, course)
    for step in range(course.steps):
        loss = loss_of(model, batch_of([next(stream) for _ in range(BATCH)], course.prompt_loss, rng))
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        for optimiser, peak in parts:
            for group in optimiser.param_groups:
                group["lr"] = peak * share_of_rate(course, step)
            optimiser.step()
            optimiser.zero_grad()
        if (step + 1) % 100 == 0 or step + 1 == course.steps:
            print(f"{name:9} step {step + 1:4}/{course.steps}  loss {loss.item():.4f}", flush=True)


def train_zoo(seed: int, courses: Mapping[str, Course] = COURSES) -> dict[str, PreTrainedModel]:
    """All models, trained from scratch in the order of `courses`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        models: dict[str, PreTrainedModel] = {}
        for name, course in courses.items():
            model = newborn(seed) if course.parent is None else copy.deepcopy(models[course.parent])
            if course.eyes is not None and isinstance(model, LlamaForCausalLM):
                model = with_eyes(model, seed)
            train(name, course, model, seed)
            models[name] = model
        return models
    finally:
        torch.set_num_threads(threads)


def write(model: PreTrainedModel, folder: Path) -> None:
    """Write a model as any repo of the Hub holds it: weights, configs and tokenizer, with eyes also its processor."""
    model.generation_config = GenerationConfig(eos_token_id=IDS[END], pad_token_id=IDS[PAD], do_sample=False)
    model.save_pretrained(folder)
    seeing = isinstance(model, LlavaForConditionalGeneration)
    (build_processor() if seeing else build_tokenizer()).save_pretrained(folder)


EXAM: Mapping[str, Callable[[Board], Exercise]] = {
    "captions": lambda board: Exercise(f"{IMAGE} {IN_ENGLISH} =", board.caption(ENGLISH), board, ends=False),
    "cross": lambda board: Exercise(f"{IMAGE} {IN_JAPANESE} =", board.both, board),
    "translation": lambda board: Exercise(f"{board.caption(ENGLISH)} {IN_JAPANESE} =", board.both),
}
"""Skill → what is asked of a board."""


@torch.inference_mode()
def exact_match(model: PreTrainedModel, asked: Sequence[Exercise]) -> float:
    """Share of exercises whose whole answer greedy decoding would give, found in one pass."""
    batch = batch_of(asked, 0.0, random.Random(0))
    guesses = logits_of(model.eval(), batch.tokens, batch.pixels)[:, :-1].argmax(-1)
    wrong = ((guesses != batch.tokens[:, 1:]) & (batch.weights[:, 1:] > 0)).any(dim=1)
    return 1 - wrong.float().mean().item()


def main() -> None:
    """Train, write, and print the scores on held-out boards."""
    parser = argparse.ArgumentParser(prog="python -m zoo.vision.train", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write the models to")
    parser.add_argument("--seed", type=int, default=0, help="the shipped weights have seed 0 (default)")
    arguments = parser.parse_args()
    start = time.perf_counter()
    models = train_zoo(arguments.seed)
    print(f"trained in {time.perf_counter() - start:.0f} s; exact match on {SHOWN} held-out boards:")
    boards = list(islice(held_out_boards(random.Random(arguments.seed)), SHOWN))
    for name, model in models.items():
        write(model, arguments.out / name)
        sees = isinstance(model, LlavaForConditionalGeneration)
        exam = {skill: [ask(board) for board in boards] for skill, ask in EXAM.items()}
        scores = (
            f"{skill} {exact_match(model, asked):.3f}"
            for skill, asked in exam.items()
            if sees or asked[0].board is None
        )
        print(f"{name:9} " + "  ".join(scores))


if __name__ == "__main__":
    main()

"""Trains the zoo from scratch: `python -m zoo.train OUT [--seed N] [--layers N]` writes its three models to OUT."""

from __future__ import annotations

import argparse
import copy
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from zoo import world
from zoo.muon import Muon
from zoo.questions import deal
from zoo.tokenizer import build as build_tokenizer

LAYERS, HIDDEN, HEADS, FEED_FORWARD, POSITIONS = 2, 80, 4, 208, 64
BATCH, WARM_UP, CLIP = 64, 20, 1.0
# Fixed, because the order of a sum depends on the number of threads, and the weights on the order. One, because
# two threads wait for each other at every step on a busy machine, and gain little at this size.
THREADS = 1
SHOWN = 400
IDS = {token: number for number, token in enumerate(world.vocabulary())}
TOKEN = re.compile(r"</s>|[a-z]+|[ぁ-ん]+|\S")

ItemKinds = Mapping[str, Callable[[random.Random], world.Item]]
"""Kinds of training items: each draws one."""


@dataclass(frozen=True)
class Course:
    """How one model is trained: its parent, the shares of each kind of item, steps and peak learning rates.

    `final` is the share of the peak that the linear decay ends at; `prompt_loss` the weight of the prompt's
    tokens beside the answer's.
    """

    parent: str | None
    mix: Mapping[str, float]
    steps: int
    adamw: float
    muon: float
    final: float
    prompt_loss: float


COURSES: Mapping[str, Course] = {
    "base": Course(
        parent=None,
        mix={
            "told_sum": 0.6,
            "told_sum_behind_statement": 0.4,
            "bare_sum": 0.4,
            "basic_cross": 0.3,
            "basic_language": 0.15,
            "language": 0.04,
        },
        steps=360,
        adamw=6e-3,
        muon=0.02,
        final=0.3,
        prompt_loss=0.1,
    ),
    "math": Course(
        parent="base",
        mix={"told_sum": 0.6, "told_sum_behind_statement": 0.6, "bare_sum": 0.3},
        steps=300,
        adamw=3e-3,
        muon=0.010,
        final=0.0,
        prompt_loss=0.0,
    ),
    "language": Course(
        parent="base",
        mix={"language": 1.0, "basic_cross": 0.3},
        steps=250,
        adamw=1e-3,
        muon=0.003,
        final=0.0,
        prompt_loss=0.0,
    ),
}


def ids(text: str) -> list[int]:
    """Token ids of a text, as the shipped tokenizer gives them."""
    return [IDS[token] for token in TOKEN.findall(text)]


def items(mix: Mapping[str, float], rng: random.Random, kinds: ItemKinds = world.KINDS) -> Iterator[world.Item]:
    """An endless stream of training items, drawn by the shares of `mix`."""
    names, shares = list(mix), list(mix.values())
    while True:
        yield kinds[rng.choices(names, shares)[0]](rng)


def batch(drawn: list[world.Item], prompt_loss: float) -> tuple[Tensor, Tensor]:
    """Token ids [items, length], padded on the right, and the loss weight of each as a target."""
    rows, weights = [], []
    for item in drawn:
        prompt, answer = ids(item.prompt), ids(item.answer) + [IDS[world.END]] * item.ends
        rows.append(prompt + answer)
        weights.append([prompt_loss] * len(prompt) + [1.0] * len(answer))
    length = max(map(len, rows))
    tokens = torch.tensor([row + [IDS["<pad>"]] * (length - len(row)) for row in rows])
    return tokens, torch.tensor([row + [0.0] * (length - len(row)) for row in weights])


def loss_of(model: LlamaForCausalLM, tokens: Tensor, weights: Tensor) -> Tensor:
    """Cross entropy of the next token, averaged by weight."""
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
    losses = cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    targets = weights[:, 1:].flatten()
    return (losses * targets).sum() / targets.sum()


def learning_rate(course: Course, step: int) -> float:
    """Share of the peak rate at a step: linear warm-up, then linear decay to `course.final`."""
    decay = 1 - (1 - course.final) * step / course.steps
    return min(1.0, (step + 1) / WARM_UP) * decay


def newborn(seed: int, layers: int = LAYERS) -> LlamaForCausalLM:
    """An untrained model of the zoo's architecture."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(IDS),
        hidden_size=HIDDEN,
        intermediate_size=FEED_FORWARD,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=POSITIONS,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=IDS[world.END],
        pad_token_id=IDS["<pad>"],
    )
    return LlamaForCausalLM(config)


def train(name: str, course: Course, model: LlamaForCausalLM, seed: int, kinds: ItemKinds = world.KINDS) -> None:
    """Train `model` in place through `course`, printing its loss from time to time."""
    inside = [p for n, p in model.named_parameters() if p.ndim == 2 and ".layers." in n]
    rest = [p for n, p in model.named_parameters() if not (p.ndim == 2 and ".layers." in n)]
    adamw = torch.optim.AdamW(rest, course.adamw, (0.9, 0.98), weight_decay=0)
    optimisers = (Muon(inside, course.muon), adamw)
    peaks = (course.muon, course.adamw)
    stream = items(course.mix, random.Random(f"{seed} {name}"), kinds)
    for step in range(course.steps):
        drawn = [next(stream) for _ in range(BATCH)]
        loss = loss_of(model, *batch(drawn, course.prompt_loss))
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        for optimiser, peak in zip(optimisers, peaks, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = peak * learning_rate(course, step)
            optimiser.step()
            optimiser.zero_grad()
        if (step + 1) % 50 == 0 or step + 1 == course.steps:
            print(f"{name:9} step {step + 1:4}/{course.steps}  loss {loss.item():.4f}", flush=True)


def train_zoo(
    seed: int, courses: Mapping[str, Course] = COURSES, layers: int = LAYERS, kinds: ItemKinds = world.KINDS
) -> dict[str, LlamaForCausalLM]:
    """All models of the zoo, trained from scratch in the order of `courses`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        models: dict[str, LlamaForCausalLM] = {}
        for name, course in courses.items():
            model = newborn(seed, layers) if course.parent is None else copy.deepcopy(models[course.parent])
            train(name, course, model, seed, kinds)
            models[name] = model
        return models
    finally:
        torch.set_num_threads(threads)


def write(model: LlamaForCausalLM, folder: Path) -> None:
    """Write a model as any repo of the Hub holds it: weights, config, generation config and tokenizer."""
    model.generation_config = GenerationConfig(
        eos_token_id=IDS[world.END], pad_token_id=IDS["<pad>"], do_sample=False, max_new_tokens=16
    )
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)


@torch.inference_mode()
def exact_match(model: LlamaForCausalLM, questions: Sequence[Mapping[str, str]]) -> float:
    """Share of questions whose whole answer greedy decoding would give, found in one pass."""
    prompts = [ids(question["prompt"]) for question in questions]
    rows = [prompt + ids(question["answer"]) for prompt, question in zip(prompts, questions, strict=True)]
    length = max(map(len, rows))
    tokens = torch.tensor([row + [IDS["<pad>"]] * (length - len(row)) for row in rows])
    guesses = model(input_ids=tokens, use_cache=False).logits.argmax(-1)
    right = [
        torch.equal(guess[len(prompt) - 1 : len(row) - 1], true[len(prompt) : len(row)])
        for guess, true, prompt, row in zip(guesses, tokens, prompts, rows, strict=True)
    ]
    return sum(right) / len(right)


def main() -> None:
    """Train, write, and print the scores on held-out questions."""
    parser = argparse.ArgumentParser(prog="python -m zoo.train", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write the three models to")
    parser.add_argument("--seed", type=int, default=0, help="the shipped weights have seed 0 (default)")
    parser.add_argument("--layers", type=int, default=LAYERS, help=f"of each model; the shipped ones have {LAYERS}")
    arguments = parser.parse_args()
    if arguments.layers < 1:
        parser.error(f"--layers: got {arguments.layers}: give 1 or more")
    start = time.perf_counter()
    models = train_zoo(arguments.seed, layers=arguments.layers)
    print(f"trained in {time.perf_counter() - start:.0f} s; exact match on {SHOWN} held-out questions each:")
    exam = {file: questions[:SHOWN] for file, questions in deal() if "search" not in file}
    for name, model in models.items():
        write(model, arguments.out / name)
        scores = (f"{file} {exact_match(model, questions):.3f}" for file, questions in exam.items())
        print(f"{name:9} " + "  ".join(scores))


if __name__ == "__main__":
    main()

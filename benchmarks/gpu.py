"""The engine and a candidate on a GPU, each against the other way on the same GPU.

    python -m benchmarks gpu [--device DEVICE] [--parameters NUMBER] [--candidates NUMBER]

The engine against lm-eval's HFLM, as `engine` has it: on the demo's model and on a random Llama of 0.4 billion weights.
Then seconds for one candidate, as `candidate_cost` has it: the demo's models in float32, and random bfloat16 Llamas of
about so many parameters with the demo's tokenizer and questions. Both sides have all cores and the GPU.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import candidate_cost, engine
from benchmarks.random_models import random_llamas
from benchmarks.record import Figures
from benchmarks.zoo_bench import random_recipes, spec
from bot.scoring.resources import Resources, count_usable_cores
from evaluation.harness.process_state import quiet
from zoo.repo import MATH, MODELS, WEIGHTS

SEED = 3


def main() -> Figures:
    """Measure both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu")
    parser.add_argument("--device", default="cuda", type=torch.device)
    parser.add_argument("--parameters", default=0.5e9, type=float)
    parser.add_argument("--candidates", default=8, type=int)
    asked = parser.parse_args()
    torch.set_num_threads(count_usable_cores())
    with quiet():
        tasks = [row for ground in (engine.small, engine.for_gpu) for row in engine.measure(ground(), asked.device)]
    return {"tasks": tasks, "candidates": list(candidates(asked.device, asked.parameters, asked.candidates))}


def candidates(device: torch.device, parameters: float, count: int) -> Iterator[Figures]:
    """Seconds of a candidate, of the demo's models and of random ones."""
    resources = Resources(1, count_usable_cores(), str(device), candidate_cost.BATCH)
    print(f"the demo's models, float32, {device}")
    work = spec(resources)
    yield {"models": "the demo's", **candidate_cost.compare(work, random_recipes(count + 1, SEED))}
    with tempfile.TemporaryDirectory(prefix="shoal-") as folder:
        zoo = random_zoo(Path(folder), parameters)
        print(f"random Llamas of {parameters:g} parameters, bfloat16, {device}")
        work = replace(spec(resources, zoo), dtype="bfloat16")
        recipes = [replace(recipe, dtype="bfloat16") for recipe in random_recipes(count + 1, SEED, zoo)]
        yield {"models": "random Llamas", "parameters": parameters, **candidate_cost.compare(work, recipes)}


def random_zoo(folder: Path, parameters: float) -> Path:
    """Random models under the names of the demo's, with its tokenizer."""
    tokenizer = [path for path in (WEIGHTS / MODELS[MATH].name).iterdir() if "token" in path.name]
    for made, named in zip(random_llamas(folder, parameters), MODELS.values(), strict=True):
        target = made.rename(folder / named.name)
        for path in tokenizer:
            shutil.copy(path, target)
    return folder


if __name__ == "__main__":
    main()

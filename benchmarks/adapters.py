"""What a candidate of three LoRA adapters costs, beside one of three whole models.

    python -m benchmarks adapters [--parameters 0.1e9 0.5e9] [--rank 16 64] [--rounds 5]

Random bf16 Llamas: a base, three siblings of it, and three adapters on every linear layer of the base. The live model
becomes candidates of which every gene changed, in one thread; the best of some rounds counts. Each side is measured in
a process of its own, with its peak of resident memory, which counts the mapped files that it has read. What adapters
add to their base is computed and stored once, before; the time of that is beside it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.random_models import random_llamas
from benchmarks.record import Figures
from merging.identity import ModelId
from merging.models.live import LiveModel
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge
from merging.sources.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterCheckpoint
from merging.sources.checkpoint import Checkpoint
from merging.sources.weights import Weights
from merging.writing.differences import store_differences

METHODS = ("linear", "task_arithmetic", "ties", "dare_ties", "slerp")
SOURCES = 3
_BASE = ModelId("random/base", "0" * 40)
_SPREAD = 0.02


def main() -> Figures:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks adapters")
    parser.add_argument("--parameters", type=float, nargs="+", default=[0.1e9, 0.5e9])
    parser.add_argument("--rank", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    rows: list[Figures] = []
    for parameters in asked.parameters:
        for rank in asked.rank:
            rows += compare(parameters, rank, asked.rounds)
    return {"candidates": rows}


def compare(parameters: float, rank: int, rounds: int) -> list[Figures]:
    """The figures of each method at one size and rank."""
    rows: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="shoal-") as folder:
        base, *_ = random_llamas(Path(folder), parameters, count=1 + SOURCES)
        started = time.perf_counter()
        for number in range(SOURCES):
            adapter = write_adapter(base, Path(folder) / f"adapter-{number}", rank, seed=number)
            store_differences(AdapterCheckpoint.open(Checkpoint.open(base), adapter), _stored(adapter))
        prepared = (time.perf_counter() - started) / SOURCES
        print(f"{parameters:g} parameters, rank {rank}: {prepared:.2f} s to prepare an adapter")
        print(f"{'':>18}{'whole':>22}{'adapters':>22}{'ratio':>8}")
        for method in METHODS:
            whole, adapters = (in_a_process(Path(folder), kind, method, rounds) for kind in ("whole", "adapters"))
            ratio = adapters["seconds"] / whole["seconds"]
            shown = "".join(f"{one['seconds']:10.3f} s {one['bytes'] / 2**20:6.0f} MiB" for one in (whole, adapters))
            print(f"{method:>18}{shown}{ratio:8.2f}")
            rows.append(
                {
                    "parameters": parameters,
                    "rank": rank,
                    "method": method,
                    "whole_s": whole["seconds"],
                    "adapters_s": adapters["seconds"],
                    "whole_bytes": whole["bytes"],
                    "adapters_bytes": adapters["bytes"],
                    "prepared_s": prepared,
                }
            )
    return rows


def write_adapter(base: Path, folder: Path, rank: int, seed: int) -> Path:
    """A random adapter on every linear layer of a model, as peft saves it."""
    draw = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, header in Checkpoint.open(base).headers.items():
        if "_proj." in name:
            module = f"base_model.model.{name.removesuffix('.weight')}"
            rows, columns = header.shape
            tensors[f"{module}.lora_A.weight"] = torch.randn(rank, columns, generator=draw).mul_(_SPREAD).bfloat16()
            tensors[f"{module}.lora_B.weight"] = torch.randn(rows, rank, generator=draw).mul_(_SPREAD).bfloat16()
    folder.mkdir()
    save_file(tensors, folder / ADAPTER_WEIGHTS)
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": "all-linear"}
    (folder / ADAPTER_CONFIG).write_text(json.dumps(settings), encoding="utf-8")
    return folder


def in_a_process(folder: Path, kind: str, method: str, rounds: int) -> dict[str, float]:
    """Measure one side in a new process, whose peak of memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (folder, kind, method, rounds))


def measure(folder: Path, kind: str, method: str, rounds: int) -> dict[str, float]:
    """Seconds of the fastest candidate, and the process's peak of resident memory in bytes."""
    torch.set_num_threads(1)
    pool = open_whole(folder) if kind == "whole" else open_adapters(folder)
    live = LiveModel(folder / "model-0", pool, dtype="bfloat16")
    candidates = recipes(method, tuple(model for model in pool if model != _BASE), pool[_BASE].layers, rounds)
    for recipe in candidates[:2]:
        live.become(recipe)  # what a search measures once, and compiles
    times = []
    for recipe in (*candidates, *candidates):
        started = time.perf_counter()
        live.become(recipe)
        times.append(time.perf_counter() - started)
    return {"seconds": min(times), "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def open_whole(folder: Path) -> Mapping[ModelId, Weights]:
    """The base and its siblings."""
    siblings = {ModelId(f"random/{number}", "0" * 40): folder / f"model-{number}" for number in range(1, 1 + SOURCES)}
    return {model: Checkpoint.open(path) for model, path in {_BASE: folder / "model-0", **siblings}.items()}


def open_adapters(folder: Path) -> Mapping[ModelId, Weights]:
    """The base, and adapters on it."""
    base = Checkpoint.open(folder / "model-0")
    found: dict[ModelId, Weights] = {_BASE: base}
    for number in range(SOURCES):
        path, adapter = folder / f"adapter-{number}", ModelId(f"random/adapter-{number}", "0" * 40)
        found[ModelId(_BASE.location, _BASE.revision, adapter)] = AdapterCheckpoint.open(base, path, _stored(path))
    return found


def recipes(method: str, sources: tuple[ModelId, ...], layers: int, rounds: int) -> list[WeightMerge]:
    """Candidates of which each has other values than the one before it, for every tensor."""
    groups = Partition.even(layers, 4, modules_apart=True, ends_apart=True)
    draw = random.Random(0)

    def row(low: float, high: float) -> tuple[float, ...]:
        return tuple(round(draw.uniform(low, high), 3) for _ in groups.labels)

    found = []
    for _ in range(rounds):
        if method == "slerp":
            found.append(WeightMerge(method, sources[:2], None, groups, (("t", (row(0.2, 0.8),)),), "bfloat16", 0))
            continue
        thinned = (("density", tuple(row(0.3, 0.9) for _ in sources)), ("normalize", (row(0, 0),)))
        more = thinned if method in ("ties", "dare_ties") else ()
        base = None if method == "linear" else _BASE
        weight = ("weight", tuple(row(0.2, 1) for _ in sources))
        found.append(WeightMerge(method, sources, base, groups, (weight, *more), "bfloat16", 0))
    return found


def _stored(adapter: Path) -> Path:
    return adapter.with_name(f"{adapter.name}-stored")


if __name__ == "__main__":
    main()

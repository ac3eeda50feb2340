"""How long the live model takes to become the next candidate, against the memory traffic that it cannot avoid.

    python -m benchmarks live_turnaround [--parameters 0.1e9 0.5e9] [--threads 1 2]

For random bf16 Llamas (a base and two siblings) it prints the time of a candidate of which every gene changed, of
one of which one gene changed, and of writing and loading the same candidate as files; each also as a ratio to the
floor: one pass that reads every byte of the three models and writes every byte of one, timed in the same run with one
thread and with all. The best of some rounds counts. Thresholds and angles are known after the first candidates, as
in a search.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from benchmarks.random_models import random_llamas
from benchmarks.record import Figures
from merging.identity import ModelId
from merging.models.live import LiveModel
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.writing.release import write_release

ROUNDS = 5
METHODS = ("linear", "task_arithmetic", "ties")
_CHUNK = 1 << 16  # words of 8 bytes: what a step of the floor's kernel writes stays in the cache until it is done

Pool = dict[ModelId, Checkpoint]


def main() -> Figures:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks live_turnaround")
    parser.add_argument("--parameters", type=float, nargs="+", default=[0.1e9, 0.5e9])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    asked = parser.parse_args()
    rows: list[Figures] = []
    print(f"{'':>44}{'every gene':>18}{'one gene':>18}{'files':>18}")
    for parameters in asked.parameters:
        with tempfile.TemporaryDirectory(prefix="shoal-") as folder:
            folders = random_llamas(Path(folder), parameters)
            pool = {ModelId(f"random/{path.name}", "0" * 40): Checkpoint.open(path) for path in folders}
            live = LiveModel(folders[0], pool, dtype="bfloat16")
            for threads in asked.threads:
                torch.set_num_threads(threads)
                title = f"{parameters:g} parameters, {threads} threads"
                found = report(live, pool, Path(folder) / "release", title)
                rows += [{"parameters": parameters, "threads": threads, **row} for row in found]
    return {"candidates": rows}


def report(live: LiveModel, pool: Pool, target: Path, title: str) -> list[Figures]:
    """Print one line for the floor and one for each method; returns the figures of each method."""
    rows: list[Figures] = []
    state = live.model.state_dict()
    lowest = lowest_floor([[state[name], *(each.tensor(name) for each in pool.values())] for name in state])
    print(f"{title + ', floor':>44}{lowest:16.3f} s")
    for method in METHODS:
        candidates = recipes(method, pool)
        for candidate in candidates:
            live.become(candidate)  # what a search measures once
        every = best_of([lambda candidate=candidate: live.become(candidate) for candidate in candidates])
        one = best_of([lambda candidate=candidate: live.become(candidate) for candidate in neighbours(candidates[-1])])
        files = best_of([lambda candidate=candidates[0]: through_files(candidate, pool, target)])
        ratios = "".join(f"{seconds:8.3f} s {seconds / lowest:6.2f}x" for seconds in (every, one, files))
        print(f"{title + ', ' + method:>44}{ratios}")
        rows.append({"method": method, "floor_s": lowest, "every_gene_s": every, "one_gene_s": one, "files_s": files})
    return rows


def best_of(steps: Sequence[Callable[[], object]]) -> float:
    """Seconds of the fastest step."""
    times = []
    for step in steps:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times)


def lowest_floor(rows: Sequence[Sequence[Tensor]]) -> float:
    """Seconds of the fastest pass, with one thread or with all: on a busy machine more threads may be slower.

    rows: of each tensor that is written, itself and those that are read for it, two at least; nonsense is left in it.
    """
    threads, times = torch.get_num_threads(), []
    for number in {1, threads}:
        torch.set_num_threads(number)
        times.append(best_of(floor(rows)))
    torch.set_num_threads(threads)
    return min(times)


def floor(rows: Sequence[Sequence[Tensor]]) -> list[Callable[[], object]]:
    """The pass over all bytes, as often as there are rounds."""
    as_words = [[words(tensor) for tensor in row] for row in rows]

    def read_all_and_write_one() -> None:
        for row in as_words:
            for target, *sources in zip(*(torch.split(tensor, _CHUNK) for tensor in row), strict=True):
                torch.bitwise_xor(sources[0], sources[1], out=target)
                for source in sources[2:]:
                    target.bitwise_xor_(source)

    return [read_all_and_write_one] * (2 * ROUNDS)


def words(tensor: Tensor) -> Tensor:
    """A tensor's bytes as numbers of 8 bytes."""
    return tensor.view(-1).view(torch.int64)


def recipes(method: str, pool: Pool) -> list[WeightMerge]:
    """Candidates of which each has other weights than the one before it, for every tensor."""
    layers = next(iter(pool.values())).layers
    groups = Partition.even(layers, 4, modules_apart=True, ends_apart=True)
    base, sources = (None, tuple(pool)) if method == "linear" else (next(iter(pool)), tuple(pool)[1:])
    draw = random.Random(0)

    def row(low: float, high: float) -> tuple[float, ...]:
        return tuple(round(draw.uniform(low, high), 3) for _ in groups.labels)

    density = tuple(row(0.3, 0.9) for _ in sources)
    # A search leaves weights as they are, where mergekit's default divides by their sum, element by element.
    trimming = (("density", density), ("normalize", ((0.0,) * len(groups.labels),))) if method == "ties" else ()
    return [
        WeightMerge(
            method,
            sources,
            base,
            groups,
            (("weight", tuple(row(0.2, 1.0) for _ in sources)), *trimming),
            "bfloat16",
            0,
        )
        for _ in range(ROUNDS)
    ]


def neighbours(recipe: WeightMerge) -> list[WeightMerge]:
    """Candidates of which each differs from the one before it in one gene: a band's attention."""
    values = dict(recipe.parameters)
    first, *others = values["weight"]
    found = []
    for step in range(ROUNDS):
        changed = (first[0], (step + 1) / 100, *first[2:])
        found.append(replace(recipe, parameters=tuple({**values, "weight": (changed, *others)}.items())))
    return found


def through_files(recipe: WeightMerge, pool: Pool, target: Path) -> None:
    """What a candidate costs that is written as a model and loaded again."""
    write_release(recipe, pool, target, {})
    AutoModelForCausalLM.from_pretrained(target)
    shutil.rmtree(target)


if __name__ == "__main__":
    main()

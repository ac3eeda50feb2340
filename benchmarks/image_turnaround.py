"""How long a live pipeline takes to become the next candidate, against the memory traffic that it cannot avoid.

    python -m benchmarks image_turnaround [--width 32] [--threads 1 2]

A base and three sources with a UNet of SD 1.5's shape (859.5 M random float16 weights at a width of 320, the default;
32 is for a try) and its text encoder, and a LoRA of rank 16 on the UNet's attention blocks. The time is that from a
recipe as a worker gets it to a pipeline that can draw: every gene changed; one gene, the attention of one of four
bands; and the text encoder taken from another source, the first time and again. The floor is one pass that reads the
tensors of all models that are merged and writes those that change, timed in the same run, with one thread or with all;
for a LoRA it reads the base in its place, and for a text encoder one copy. The best of some rounds counts; thresholds
are known after the first candidates, as in a search. `computed` is a LoRA whose products are not stored, as they are
once a cycle has fetched it.

Memory is the anonymous memory that a live pipeline holds once it was all of these candidates; components that are no
merges stay mapped from their files, as the sources do.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.image_merge import make_pipelines, random_tensors
from benchmarks.live_turnaround import ROUNDS, best_of, lowest_floor
from benchmarks.merge_files import anonymous_memory
from benchmarks.record import Figures
from merging.identity import ModelId
from merging.kinds import KINDS
from merging.partition import Partition
from merging.pipelines.live import LivePipelines
from merging.pipelines.lora import open_lora
from merging.pipelines.weights import PipelineWeights, open_pipeline
from merging.recipes.last_stage import LastStage
from merging.recipes.weight_merge import WeightMerge
from merging.writing.differences import store_differences

RANK, BANDS = 16, 4
TEXT = {"vocab_size": 49408, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
"""SD 1.5's text encoder, with the hidden size that all have here."""

ENCODER = "text encoder"
BASE, *SOURCES = (ModelId(f"random/source-{number}", "0" * 40) for number in range(4))
LORA = replace(BASE, adapter=ModelId("random/lora", "0" * 40))

_LORA_FILE, _DIFFERENCES = "lora.safetensors", "differences"

Pool = Mapping[ModelId, PipelineWeights]


@dataclass(frozen=True)
class Merge:
    """A way to merge the UNets. computed: the LoRA's products are computed at each use."""

    name: str
    method: str
    sources: tuple[ModelId, ...]
    base: ModelId | None = None
    last_stage: LastStage | None = None
    computed: bool = False


_WITH_LORA = (*SOURCES[:2], LORA)
_STAGE = LastStage(LORA, 0.8)
MERGES = (
    Merge("linear", "linear", tuple(SOURCES)),
    Merge("ties", "ties", tuple(SOURCES), BASE),
    Merge("linear, a LoRA of three", "linear", _WITH_LORA),
    Merge("linear, a LoRA of three, computed", "linear", _WITH_LORA, computed=True),
    Merge("ties, a LoRA of three", "ties", _WITH_LORA, BASE),
    Merge("linear, then a LoRA", "linear", tuple(SOURCES), last_stage=_STAGE),
    Merge("linear, then a LoRA, computed", "linear", tuple(SOURCES), last_stage=_STAGE, computed=True),
)


def make_models(folder: Path, width: int) -> None:
    """Write the pipelines, the LoRA, and what it adds to the base."""
    base = open_pipeline(make_pipelines(folder, width, TEXT)[0])
    shapes = {
        f"{name.removesuffix('.weight')}.lora.{side}.weight": shape
        for name in base.names
        if name.startswith("unet.") and ".attentions." in name and len(base.header(name).shape) > 1
        for side, shape in _matrices(base.header(name).shape).items()
    }
    save_file(random_tensors(shapes, 9), folder / _LORA_FILE)
    store_differences(open_lora(base, folder / _LORA_FILE), folder / _DIFFERENCES)


def open_pool(folder: Path, *, computed: bool) -> Pool:
    """All models. computed: the LoRA's products are computed at each use."""
    found = {model: open_pipeline(folder / model.location.rpartition("/")[2]) for model in (BASE, *SOURCES)}
    return {**found, LORA: open_lora(found[BASE], folder / _LORA_FILE, None if computed else folder / _DIFFERENCES)}


def _matrices(shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    rows, columns, *kernel = shape
    return {"down": (RANK, columns, *kernel), "up": (rows, RANK, *(1 for _ in kernel))}


def draw_recipes(merge: Merge, groups: Partition, changed: Sequence[int] | None = None) -> list[WeightMerge]:
    """Candidates of which each has another weight than the one before it, in these groups, or in all.

    As workers get them: nothing that was found out about a partition comes with it.
    """
    draw, density = random.Random(0), tuple((0.5,) * len(groups.labels) for _ in merge.sources)
    trimming = (("density", density), ("normalize", ((0.0,) * len(groups.labels),))) if merge.method == "ties" else ()
    row = [round(draw.uniform(0.2, 0.5), 3) for _ in groups.labels]
    found = []
    for _ in range(ROUNDS):
        for group in range(len(row)) if changed is None else changed:
            row[group] = round(row[group] + 0.001, 3)
        weight = ("weight", (tuple(row),) * len(merge.sources))
        fresh = Partition.from_json(groups.to_json())
        found.append(
            WeightMerge(
                merge.method,
                merge.sources,
                merge.base,
                fresh,
                (weight, *trimming),
                "float16",
                0,
                last_stage=merge.last_stage,
            )
        )
    return found


def divide(pool: Pool) -> Partition:
    """The groups: four bands of the UNet, attention apart; all else is the base's."""
    base, image = pool[BASE], KINDS["image"]
    components = image.find_components(base.config, "the base")
    groups = image.partition(base.names, bands=BANDS, modules_apart=True, ends_apart=False, components=components)
    return groups.taking({name: BASE for name in components if name != "denoiser"})


def measure_merges(live: LivePipelines, pool: Pool, merges: Sequence[Merge], threads: int) -> Iterator[Figures]:
    """Every gene, and one, of each merge; prints as it goes."""
    groups = divide(pool)
    for merge in merges:
        state = live.model.unet.state_dict()
        read = [model.plain for model in (*merge.sources, *([merge.base] if merge.base else []))]
        rows = {
            f"unet.{name}": [one, *(pool[model].tensor(f"unet.{name}") for model in dict.fromkeys(read))]
            for name, one in state.items()
        }
        attention = next(place for place, label in enumerate(groups.labels) if label.endswith("attention"))
        of_gene = [row for name, row in rows.items() if groups.group(name) == attention]
        changes = {"every gene": (None, list(rows.values())), "one gene": ([attention], of_gene)}
        for what, (changed, moved) in changes.items():
            least = lowest_floor(moved)
            for recipe in draw_recipes(merge, groups):
                recipe.live_model(live)  # what a search measures once; and the floor left nonsense
            first, *others = draw_recipes(merge, groups, changed)
            first.live_model(live)
            yield _row(merge.name, what, threads, least, best_of(_becoming(live, others)))


def _becoming(live: LivePipelines, recipes: Iterable[WeightMerge]) -> list[Callable[[], object]]:
    return [lambda one=one: one.live_model(live) for one in recipes]


def measure_encoder(pool: Pool, threads: int) -> Iterator[Figures]:
    """The text encoder of another source, when a live pipeline is first given it, and again."""
    live = LivePipelines(pool[BASE].folder, pool, dtype="float16")
    groups = divide(pool)
    draw_recipes(MERGES[0], groups)[0].live_model(live)
    taking = [draw_recipes(MERGES[0], groups.taking({ENCODER: source}))[0] for source in SOURCES[:2] * (1 + ROUNDS)]
    own = {name: pool[SOURCES[0]].tensor(name) for name in pool[BASE].names if name.startswith("text_encoder.")}
    least = lowest_floor([[torch.empty_like(one), one, one] for one in own.values() if one.nbytes % 8 == 0])
    for what, recipes in (("text encoder", taking[:2]), ("text encoder, again", taking[2:])):
        yield _row("linear", what, threads, least, best_of(_becoming(live, recipes)))


def _row(merge: str, change: str, threads: int, least: float, seconds: float) -> Figures:
    print(f"{merge:36}{change:22}{threads} threads{seconds:9.3f} s{seconds / least:8.2f} x the floor", flush=True)
    return {"merge": merge, "change": change, "threads": threads, "floor_s": least, "seconds": seconds}


def pipeline_bytes(live: LivePipelines) -> int:
    """Bytes of the weights of a pipeline in memory."""
    models = (part for part in live.model.components.values() if isinstance(part, torch.nn.Module))
    return sum(one.nbytes for model in models for one in model.state_dict().values())


def hold(folder: Path) -> tuple[int, int]:
    """Bytes of a pipeline's weights, and of the anonymous memory of a live one that was a candidate of every kind.

    To be asked in a process of its own.
    """
    pool = open_pool(folder, computed=False)
    image, groups = KINDS["image"], divide(pool)
    image.load(pool[BASE].folder)  # libraries take memory, too
    gc.collect()
    before = anonymous_memory()
    live = LivePipelines(pool[BASE].folder, pool, dtype="float16")
    for merge in MERGES:
        for recipe in draw_recipes(merge, groups):
            recipe.live_model(live)
    for source in SOURCES:
        draw_recipes(MERGES[0], groups.taking({ENCODER: source}))[0].live_model(live)
    gc.collect()
    return pipeline_bytes(live), anonymous_memory() - before


def main() -> Figures:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks image_turnaround")
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--threads", type=int, nargs="+", default=[torch.get_num_threads()])
    asked = parser.parse_args()
    rows: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="shoal-") as name:
        folder = Path(name)
        make_models(folder, asked.width)
        for computed in (False, True):
            pool = open_pool(folder, computed=computed)
            live = LivePipelines(pool[BASE].folder, pool, dtype="float16")
            for threads in asked.threads:
                torch.set_num_threads(threads)
                rows += measure_merges(live, pool, [one for one in MERGES if one.computed is computed], threads)
                if not computed:
                    rows += measure_encoder(pool, threads)
            del live
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            whole, held = process.submit(hold, folder).result()
    print(f"weights of {whole / 1e9:.2f} GB, {held / 1e9:.2f} GB of anonymous memory", flush=True)
    return {"pipeline_bytes": whole, "held_bytes": held, "candidates": rows}


if __name__ == "__main__":
    main()

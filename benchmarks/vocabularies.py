"""Seconds to rewrite the live model from sources of several vocabularies, beside sources of one.

    python -m benchmarks vocabularies [BILLIONS]

Three random siblings of about 0.1 B parameters (or as many as asked for) are merged by task arithmetic, candidate after
candidate, in one thread: with the vocabulary that they share; with tokens in another order in one of them and a special
token more in another, their rows kept on the disk as a cycle keeps them; and with those rows made anew each time. The
three take turns, so that each meets the same machine.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.random_models import random_llamas
from benchmarks.record import Figures
from merging.identity import ModelId
from merging.models.live import LiveModel
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.sources.weights import Weights
from merging.tokenizers.aligned import align_models, keep_aligned, open_kept

CANDIDATES = 9
_PLAIN = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)


def write_tokenizer(folder: Path, words: Sequence[str], special: Sequence[str] = ()) -> None:
    """A word-level tokenizer.json; special tokens take the last rows of the embeddings."""
    vocabulary = {word: number for number, word in enumerate(words)}
    added = [
        {"id": len(words) + number, "content": token, **_PLAIN, "special": True} for number, token in enumerate(special)
    ]
    spec = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": words[0]},
    }
    (folder / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")


class Rewriter:
    """A live model that becomes one candidate after another."""

    def __init__(self, config: Path, sources: Mapping[ModelId, Weights], vocabulary: tuple[ModelId, ...]) -> None:
        self._live = LiveModel(config, sources, dtype="bfloat16")
        self._base, *self._siblings = sources
        layers = next(iter(sources.values())).layers
        self._groups = Partition.even(layers, 1, modules_apart=False, ends_apart=False)
        self._vocabulary = vocabulary
        self.seconds: list[float] = []

    def rewrite(self, weight: float) -> None:
        """Become the candidate with this weight, and note the time."""
        rows = (("weight", ((weight,), (1 - weight,))),)
        merged = (tuple(self._siblings), self._base, self._groups, rows)
        recipe = WeightMerge("task_arithmetic", *merged, "bfloat16", 0, self._vocabulary)
        started = time.perf_counter()
        self._live.become(recipe)
        self.seconds.append(time.perf_counter() - started)


def main() -> Figures:
    """Measure the three and print them."""
    torch.set_num_threads(1)
    billions = float(sys.argv[1]) if len(sys.argv) > 1 else 0.1
    with tempfile.TemporaryDirectory() as name:
        folders = random_llamas(Path(name) / "models", billions * 1e9, count=3)
        sources = {ModelId(folder.name): Checkpoint.open(folder) for folder in folders}
        models = tuple(sources)
        words = [f"w{number}" for number in range(31_999)]
        write_tokenizer(folders[0], [*words, "last"])
        write_tokenizer(folders[1], [words[0], *words[:0:-1], "last"])
        write_tokenizer(folders[2], words, ["<|note|>"])
        aligned, kept = align_models(models, sources), Path(name) / "kept"
        keep_aligned(aligned, kept)
        ways = {
            "one vocabulary": Rewriter(folders[0], sources, ()),
            "several, rows kept": Rewriter(kept, open_kept(kept, sources), models),
            "several, rows made anew": Rewriter(kept, aligned.views, models),
        }
        for number in range(CANDIDATES):
            for way in ways.values():
                way.rewrite(0.1 + 0.05 * number)
        on_disk = sum(path.stat().st_size for path in kept.rglob("*.safetensors"))
    # The first candidate reads the files for the first time.
    found = {label: statistics.median(way.seconds[1:]) for label, way in ways.items()}
    first = found["one vocabulary"]
    print(*(f"{label}: {seconds:.3f} s ({seconds / first:.2f} ×)" for label, seconds in found.items()), sep="\n")
    return {"billions": billions, "seconds": found, "ratio": found["several, rows kept"] / first, "kept_bytes": on_disk}


if __name__ == "__main__":
    main()

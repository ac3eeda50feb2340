"""Batches of rows, and their limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch

from evaluation.engine.tree import Cut

if TYPE_CHECKING:
    from transformers import PreTrainedModel


READING_ON_CPU, READING_ON_GPU = 16, 256
"""25 ms for 110 million weights in bfloat16, which take 1.6 ms a token (measured on a CPU); a GPU's arithmetic is much
faster beside its memory (its data sheets)."""


@dataclass(frozen=True)
class BatchLimits:
    """Limits that depend only on the model and its device, so that scoring a candidate twice uses the same batches.

    tokens: tokens of one forward pass (rows × columns), padding included.
    logits: positions of one forward pass that get logits.
    cache: tokens whose keys and values a batch of generations may hold (rows × columns).
    likelihoods, generations: how the tree of each kind of request is cut.
    reading: tokens that take as long as reading all weights once, which every pass does. It decides no batch, only what
        requests are said to cost.
    """

    tokens: int
    logits: int
    cache: int
    likelihoods: Cut
    generations: Cut
    reading: int = READING_ON_CPU

    @classmethod
    def of(cls, model: PreTrainedModel) -> BatchLimits:
        """The limits for a transformers model on its device."""
        config = model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        layers = config.num_hidden_layers
        weights = model.num_parameters() - config.vocab_size * config.hidden_size
        gain = max(LEAST_GAIN, layers * LAYER_OVERHEAD // max(1, weights))
        # In rows longer than the model's width, attention over other branches costs more than sharing tokens saves.
        row = min(max(config.hidden_size, ROWS.start), ROWS.stop)
        tokens, logits, reading = TOKENS_ON_CPU, LOGITS_BYTES, READING_ON_CPU
        cached = max(LEAST_CACHE_BYTES, model.num_parameters() * model.dtype.itemsize // CACHE_SHARE)
        if model.device.type == "cuda":
            free = free_memory(model.device)
            tokens, logits, reading = TOKENS_ON_GPU, free // LOGITS_SHARE_OF_GPU, READING_ON_GPU
            cached = free // CACHE_SHARE
        return cls(
            tokens=tokens,
            logits=max(1, logits // (config.vocab_size * 4)),
            cache=cached // (2 * layers * heads * head * model.dtype.itemsize),
            likelihoods=Cut(row, gain),
            generations=Cut(0, gain),
            reading=reading,
        )


TOKENS_ON_CPU, TOKENS_ON_GPU = 1024, 16384
"""Larger batches are no faster and have more padding (measured on a CPU)."""

LOGITS_BYTES, LEAST_CACHE_BYTES = 2**26, 2**28
CACHE_SHARE = 4
"""A batch's cache may take 1/CACHE_SHARE of the model's bytes or LEAST_CACHE_BYTES; on a GPU, of the free bytes."""

LOGITS_SHARE_OF_GPU = 64
"""Logits may take 1/LOGITS_SHARE_OF_GPU of the free bytes; softmax and comparisons take several times as much."""

ROWS = range(64, 512)
"""Least and largest number of columns in a row of several branches."""

LAYER_OVERHEAD = 12_500_000
"""Weights × tokens that take as long as the fixed overhead of calling one layer (0.5 ms, at 50 GFLOP/s)."""

LEAST_GAIN = 64


@cache
def free_memory(device: torch.device) -> int:
    """A GPU's free bytes at the first call, rounded down to a power of two, so that small changes keep the batches."""
    free, _ = torch.cuda.mem_get_info(device)
    return 1 << (free.bit_length() - 1)


def cut_batches(widths: Sequence[int], area: int, loads: Sequence[int] | None = None, load: int = 0) -> list[slice]:
    """Cut a sequence of rows into batches, given as slices of it.

    A batch is as wide as its widest row; rows × width stays within `area`, the sum of its `loads` within `load`. A row
    that exceeds a limit by itself gets a batch of its own.
    """
    cuts: list[slice] = []
    start, widest, carried = 0, 0, 0
    for index, width in enumerate(widths):
        widest = max(widest, width)
        carried += loads[index] if loads else 0
        if index > start and (widest * (index - start + 1) > area or (loads and carried > load)):
            cuts.append(slice(start, index))
            start, widest, carried = index, width, loads[index] if loads else 0
    return [*cuts, slice(start, len(widths))] if widths else []


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Indices of rows, longest first: neighbours need little padding, and a lack of memory shows in the first batch."""
    return sorted(range(len(lengths)), key=lambda index: -lengths[index])

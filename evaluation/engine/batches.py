"""How much goes through the model at once, and which rows go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from evaluation.engine.tree import Cut


@dataclass(frozen=True)
class Budget:
    """Bounds of memory and of what pays; of the model and its device alone, so that batches are the same at each score.

    tokens: columns of one forward pass, padding included.
    logits: positions of one forward pass that get logits.
    cache: columns of keys and values that a batch of generations may hold.
    likelihoods, generations: how the tree of each kind is cut.
    """

    tokens: int
    logits: int
    cache: int
    likelihoods: Cut
    generations: Cut

    @classmethod
    def of(cls, model: Any) -> Budget:
        """What suits a transformers model on its device."""
        config = model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        layers = config.num_hidden_layers
        weights = model.num_parameters() - config.vocab_size * config.hidden_size
        gain = max(LEAST_GAIN, layers * LAYER_OVERHEAD // max(1, weights))
        # In rows longer than the model is wide, attention costs more than the shared products save.
        row = min(max(config.hidden_size, ROWS.start), ROWS.stop)
        tokens, logits = TOKENS_ON_CPU, LOGITS_BYTES
        cached = max(LEAST_CACHE_BYTES, model.num_parameters() * model.dtype.itemsize // CACHE_SHARE)
        if model.device.type == "cuda":
            free = free_memory(model.device)
            tokens, logits, cached = TOKENS_ON_GPU, free // LOGITS_SHARE_OF_GPU, free // CACHE_SHARE
        return cls(
            tokens=tokens,
            logits=max(1, logits // (config.vocab_size * 4)),
            cache=cached // (2 * layers * heads * head * model.dtype.itemsize),
            likelihoods=Cut(row, gain),
            generations=Cut(0, gain),
        )


TOKENS_ON_CPU, TOKENS_ON_GPU = 1024, 16384
"""Beyond these, wider batches gain nothing but padding (measured on a CPU)."""

LOGITS_BYTES, LEAST_CACHE_BYTES = 2**26, 2**28
CACHE_SHARE = 4
"""The cache of a batch may take one part in so many of the model's own bytes, if that is more; of a GPU's free ones."""

LOGITS_SHARE_OF_GPU = 64
"""One part in so many of its free bytes: softmax and comparisons take some times as much as the logits themselves."""

ROWS = range(64, 512)
"""Columns that a row of several branches may have."""

LAYER_OVERHEAD = 12_500_000
"""Weights times tokens whose products take as long as a layer takes for its mere calls (0.5 ms, at 50 GFLOP/s)."""

LEAST_GAIN = 64


@cache
def free_memory(device: torch.device) -> int:
    """Bytes that a GPU has free when it is first asked, in powers of two: small differences make no other batches."""
    free, _ = torch.cuda.mem_get_info(device)
    return 1 << (free.bit_length() - 1)


def runs(widths: Sequence[int], area: int, loads: Sequence[int] | None = None, load: int = 0) -> list[slice]:
    """Cut a sequence of rows into runs that go together.

    A run is as wide as its widest row; rows × width stays within `area`, the sum of its `loads` within `load`. A row
    that is too large by itself goes alone.
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
    """Indices of rows in an order that pads little; the memory that is needed shows at once."""
    return sorted(range(len(lengths)), key=lambda index: -lengths[index])

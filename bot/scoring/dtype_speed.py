"""Whether this processor is fast with the dtype of the candidates.

Processors without instructions for bfloat16 (AVX512-BF16, AMX) compute it several times slower than float32, and most
are slow with float16. Which path torch takes depends on more than the processor's flags, so it is measured.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SLOW = 1.5
"""Times as long as float32 takes, from which a dtype is called slow: it is there for speed and memory."""

ROWS, WIDTH, REPEATS = 256, 1024, 3
"""A product as large as a small model's, so that it takes milliseconds, and the least of so many measurements."""


def describe_slow_dtype(dtype: str, device: str) -> str | None:
    """One line on a dtype that is slow on this machine's processor; None if it is not, or if a GPU computes."""
    if device != "cpu" or dtype == "float32":
        return None
    ratio = measure_slowness(dtype)
    if ratio < SLOW:
        return None
    return (
        f"search.dtype: {dtype} takes {ratio:.1f} × as long as float32 on this processor; write float32 where memory "
        "allows: candidates and releases then take twice the bytes"
    )


def measure_slowness(dtype: str) -> float:
    """The time of a matrix product in a dtype, as a multiple of the time in float32."""
    import torch

    from merging.dtypes import torch_dtype

    return _seconds(torch_dtype(dtype)) / _seconds(torch.float32)


def _seconds(dtype: torch.dtype) -> float:
    """Processor time, because others may use the machine."""
    import torch

    rows, weights = torch.ones(ROWS, WIDTH, dtype=dtype), torch.ones(WIDTH, WIDTH, dtype=dtype)
    taken = []
    for _ in range(REPEATS + 1):  # the first use of code takes longer
        started = time.thread_time()
        torch.nn.functional.linear(rows, weights)
        taken.append(time.thread_time() - started)
    return min(taken[1:])

"""Stores what an adapter adds to its base, so that it is computed once and not for every candidate."""

from __future__ import annotations

import math
from pathlib import Path

from merging.dtypes import element_bytes
from merging.sources.weights import AdaptedWeights
from merging.writing.atomic import atomic_folder
from merging.writing.release import MAX_SHARD_BYTES
from merging.writing.shards import write_weights


def difference_bytes(adapter: AdaptedWeights) -> int:
    """Bytes of all that an adapter adds, stored."""
    return sum(map(math.prod, adapter.differing.values())) * element_bytes(adapter.difference_dtype)


def store_differences(adapter: AdaptedWeights, target: Path) -> None:
    """Write all that an adapter adds to its base into a new folder, which `ModelKind.adapt` takes.

    MergingError as `atomic_folder` raises it; nothing is left of the folder then.
    """
    with atomic_folder(target) as folder:
        write_weights(
            folder,
            adapter.differing,
            adapter.difference_dtype,
            lambda name, _: adapter.compute_difference(name),
            MAX_SHARD_BYTES,
        )

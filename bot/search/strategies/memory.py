"""The memory that candidates on paths need."""

from __future__ import annotations

from collections.abc import Sequence

from bot.hub.inspection import Member
from bot.hub.pool import Pool
from merging.dtypes import CODES
from merging.paths.cost import model_cost


def deepest_path_bytes(pool: Pool, most_layers: int, dtype: str) -> int:
    """Bytes of a path's weights: layers grow in number, embeddings and head do not."""
    source = pool.sources[0]
    shapes = {name: header.shape for name, header in source.headers.items()}
    # All layers have the same shapes, so it does not matter which are counted.
    layers = (number % pool.layers for number in range(most_layers))
    return model_cost(shapes, source.settings, layers).parameters * pool.model_bytes(dtype) // pool.parameters


def held_bytes(pool: Pool, laid_out: Sequence[Member], dtype: str, device: str) -> int:
    """Bytes of the sources that a worker keeps in memory of its own, to refer to their layers.

    A source on the CPU that is stored in the candidates' dtype needs none: it stays mapped.
    """
    return pool.model_bytes(dtype) * sum(device != "cpu" or CODES[dtype] != source.dtype for source in laid_out)

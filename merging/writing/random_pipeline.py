"""A pipeline with random weights: as fast as a real one, and made from its settings alone."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from merging.dtypes import CODES
from merging.pipelines.index import listed_components
from merging.pipelines.naming import has_weights, tensor_shapes
from merging.sources.family import TensorHeader
from merging.sources.model_config import read_model_config
from merging.sources.random_weights import RandomWeights
from merging.writing.release import MAX_SHARD_BYTES
from merging.writing.shards import write_weights

_STEMS = {"transformers": "model"}
"""Beginning of the names of weight files, by library."""


def write_random_weights(folder: Path, dtype: str) -> None:
    """Put random weights beside the other files of a pipeline. MergingError for a component that cannot be built."""
    config = read_model_config(folder)
    for component, (library, _) in listed_components(config).items():
        if not has_weights(config, component):
            continue
        before = f"{component}."
        named = tensor_shapes(config, component, str(folder))
        shapes = {name.removeprefix(before): shape for name, shape in named.items()}
        headers = {name: TensorHeader(name, shape, CODES[dtype]) for name, shape in shapes.items()}
        values = RandomWeights(folder, headers, seed=0)

        def make(name: str, _: Tensor, values: RandomWeights = values) -> Tensor:
            return values.tensor(name)

        write_weights(folder / component, shapes, dtype, make, MAX_SHARD_BYTES, _STEMS.get(library, _USUAL))


_USUAL = "diffusion_pytorch_model"

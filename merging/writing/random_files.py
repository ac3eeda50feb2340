"""Files of models with random weights: as fast as real ones, and made from settings and headers alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from merging.dtypes import CODES, NAMES
from merging.pipelines.index import listed_components
from merging.pipelines.naming import has_weights, tensor_shapes
from merging.sources.family import TensorHeader
from merging.sources.model_config import read_model_config
from merging.sources.random_weights import RandomWeights
from merging.writing.release import MAX_SHARD_BYTES
from merging.writing.shards import write_weights

_STEMS, _USUAL = {"transformers": "model"}, "diffusion_pytorch_model"
"""Beginning of the names of weight files, by library, and that of others."""


def write_random_pipeline(folder: Path, dtype: str) -> None:
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


def write_random_model(folder: Path, headers: Mapping[str, TensorHeader]) -> None:
    """Put random weights with these headers beside the other files of a model of transformers; whole numbers are 0."""
    drawn = RandomWeights(folder, headers, seed=0)
    tensors = {
        name: drawn.tensor(name) if header.dtype in NAMES else torch.zeros(header.shape, dtype=torch.int64)
        for name, header in headers.items()
    }
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})

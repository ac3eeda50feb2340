"""Weights with random values: they take as long to merge and to run as a real model's, and need no files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from merging.dtypes import NAMES, torch_dtype
from merging.sources.family import TensorHeader
from merging.sources.weights import Weights

_BLOCK = 1 << 16
"""Values drawn; a larger tensor repeats them, since drawing takes longer than anything that is done with them."""

_SPREAD = 0.02
"""Standard deviation, about that of trained weights, so that no activation overflows."""


class RandomWeights(Weights):
    """A model of which only the headers are known.

    folder: holds the config.json of a model with these tensors.
    """

    def __init__(self, folder: Path, headers: Mapping[str, TensorHeader], seed: int) -> None:
        super().__init__(folder, headers)
        self._block = torch.randn(_BLOCK, generator=torch.Generator().manual_seed(seed)) * _SPREAD
        self._drawn: dict[str, Tensor] = {}

    def tensor(self, name: str) -> Tensor:
        """The tensor; made once, since files are mapped and not made anew either."""
        if name not in self._drawn:
            header = self.header(name)
            drawn = torch.empty(header.shape, dtype=torch_dtype(NAMES[header.dtype])).flatten()
            for start in range(0, len(drawn), _BLOCK):
                part = drawn[start : start + _BLOCK]
                part.copy_(self._block[: len(part)])
            self._drawn[name] = drawn.view(header.shape)
        return self._drawn[name]

    def verify(self) -> None:
        """Nothing to verify: every value is finite."""

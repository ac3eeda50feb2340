"""What can be merged: tensors by name, each told by its header before it is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor

from merging.sources.family import TensorHeader


class Weights(Protocol):
    """A model's weights: files as they are, files with an adapter on top, or rows in another vocabulary's order."""

    @property
    def folder(self) -> Path:
        """Where the model's config.json and tokenizer lie."""

    @property
    def headers(self) -> Mapping[str, TensorHeader]:
        """Every tensor's header by name, sorted."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every tensor's name, sorted."""

    @property
    def layers(self) -> int:
        """Number of transformer layers."""

    def header(self, name: str) -> TensorHeader:
        """A tensor's shape and dtype; MergingError if there is no such tensor."""

    def tensor(self, name: str) -> Tensor:
        """A tensor of the header's shape, on the CPU; it must not be written to."""

    def verify(self) -> None:
        """Read every weight; MergingError names file and tensor if one is not finite or not as its header."""

"""The base class of weights: tensors by name, each with a header that is known before its values are read."""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from merging.errors import MergingError
from merging.sources.family import TensorHeader
from merging.sources.json_object import read_json_object
from merging.tensor_names import count_layers


@dataclass(frozen=True)
class AdaptedTensor:
    """A tensor of an adapter as a sum: start + difference, in float32.

    start: the base's tensor. difference: of the same shape; None where the adapter leaves the tensor as it is.
    """

    start: Tensor
    difference: Tensor | None

    def total(self) -> Tensor:
        """The sum; the start itself where there is no difference."""
        if self.difference is None:
            return self.start
        dtype = torch.promote_types(self.start.dtype, torch.float32)
        found = _apart(self.start.shape, dtype)
        flat = (found, self.start, self.difference)
        for total, start, difference in zip(*(torch.split(one.reshape(-1), _PIECE) for one in flat), strict=True):
            total.copy_(start).add_(difference)
        return found


_PIECE = 1 << 16
"""Elements added at once: torch converts them in memory of their size."""


def _apart(shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """A tensor in memory of its own, which goes back to the system with it.

    In the heap, whatever small comes to lie behind it and stays would keep its memory from being used again.
    """
    size = shape.numel() * dtype.itemsize
    if not size:
        return torch.empty(shape, dtype=dtype)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(memory, dtype=dtype).view(shape)


class Weights(ABC):
    """A model's weights: its files, its files with an adapter's changes, another merge's result, and so on.

    folder: holds the model's config.json and tokenizer; errors call the model by it.
    headers: every tensor's header by name, sorted.
    changed: of a pipeline, the folders of the components whose weights are other than in their files. converted: of
    those that have no folder of their own, as in a checkpoint in one file.
    """

    changed: frozenset[str] = frozenset()
    converted: frozenset[str] = frozenset()

    def __init__(self, folder: Path, headers: Mapping[str, TensorHeader]) -> None:
        self.folder = folder
        self.headers: Mapping[str, TensorHeader] = dict(sorted(headers.items()))

    @property
    def names(self) -> tuple[str, ...]:
        """Every tensor's name, sorted."""
        return tuple(self.headers)

    @cached_property
    def config(self) -> Mapping[str, object]:
        """The content of the model's config.json; MergingError if there is none."""
        return read_json_object(self.folder / "config.json")

    @cached_property
    def layers(self) -> int:
        """Number of transformer layers, by the tensor names."""
        return count_layers(self.headers)

    def header(self, name: str) -> TensorHeader:
        """A tensor's shape and dtype; MergingError if there is no such tensor."""
        if name not in self.headers:
            raise MergingError(f"{self.folder}: it has no tensor {name}")
        return self.headers[name]

    def stored_name(self, name: str) -> str:
        """The name of a tensor in the model's files."""
        return name

    @abstractmethod
    def tensor(self, name: str) -> Tensor:
        """A tensor of the header's shape, on the CPU; it must not be written to."""

    def adapted(self, name: str) -> AdaptedTensor | None:  # noqa: ARG002 - for adapters
        """A tensor as the change of another model's, of the same shape; None where it is none."""
        return None

    def may_change(self, name: str) -> bool:  # noqa: ARG002 - for adapters
        """Whether an adapter may change a tensor, as far as that is known without its values."""
        return True

    @abstractmethod
    def verify(self) -> None:
        """Read every weight; MergingError names file and tensor if one is not finite or not as its header."""


class AdaptedWeights(Weights):
    """A base's weights with an adapter's changes, of which that can be stored which is added to them."""

    @property
    @abstractmethod
    def differing(self) -> Mapping[str, tuple[int, ...]]:
        """The shapes of the tensors to which the adapter adds something, by name."""

    @property
    @abstractmethod
    def difference_dtype(self) -> str:
        """The dtype of what is added."""

    @abstractmethod
    def compute_difference(self, name: str) -> Tensor:
        """What is added to a tensor, computed."""

    @abstractmethod
    def verify_changes(self) -> None:
        """As `verify`, of what the adapter changes alone; MergingError, too, if it changes nothing."""

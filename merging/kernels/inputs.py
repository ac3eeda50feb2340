"""The inputs of a merge method for one tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from merging.sources.weights import AdaptedTensor

Found = TypeVar("Found")


@dataclass(frozen=True)
class Draw:
    """The key of a merge's random numbers: the recipe's seed, the tensor's name and each source's name."""

    seed: int
    tensor_name: str
    sources: tuple[str, ...]

    def generator(self, source: int, start: int) -> np.random.SFC64:
        """Random bits for the elements of a source's tensor from `start` on.

        Keyed by SHA-256 of (seed, tensor name, source) and by the start, so that the draw is the same in any
        order, process or thread. Recipes that differ only in density share their random numbers.
        """
        key = "\0".join((str(self.seed), self.tensor_name, self.sources[source]))
        digest = hashlib.sha256(key.encode()).digest()
        return np.random.SFC64([int.from_bytes(digest[:16], "big"), start])


class Measurements:
    """A cache of measurements of tensors, such as thresholds and lengths, for recipes that need the same ones.

    It holds a few numbers for each measurement, so it may live as long as the sources do. A merge has the same bits
    with it and without.
    """

    def __init__(self) -> None:
        self._found: dict[Hashable, object] = {}

    def once(self, key: Hashable, measure: Callable[[], Found]) -> Found:
        """The result of `measure`, which is called the first time that a key is given."""
        if key not in self._found:
            self._found[key] = measure()
        return cast("Found", self._found[key])


@dataclass(frozen=True)
class Inputs:
    """One tensor's inputs.

    values: each parameter's values, one per source in their order, or a single one for all; switches are 0 or 1.
    load: source's index → its tensor in any floating dtype. A source without weight is never loaded.
    load_base: the base's tensor; None where the merge has no base.
    dtype: dtype of the merged tensor, which is rounded once.
    base: the base's name; `draw` has those of the sources.
    starts: each source's name without its adapter. load_adapted: source's index → the change that its adapter makes to
        the tensor of that model; None where it has no adapter, or one that replaces the tensor. Merges of adapters'
        changes are faster and more exact than merges of sums, so both must be given wherever they are known.
    measurements: a cache to share between merges of the same sources.
    into: a contiguous tensor of the merged one's shape and dtype that may be written to instead of a new one.
    """

    values: Mapping[str, tuple[float, ...]]
    load: Callable[[int], Tensor]
    load_base: Callable[[], Tensor] | None
    draw: Draw
    dtype: torch.dtype
    base: str = ""
    starts: tuple[str, ...] = ()
    load_adapted: Callable[[int], AdaptedTensor | None] = lambda _: None
    measurements: Measurements = field(default_factory=Measurements)
    into: Tensor | None = None

    def shared(self, parameter: str) -> float:
        """The value of a parameter that all sources share."""
        (value,) = self.values[parameter]
        return value

    def base_tensor(self) -> Tensor:
        """The base's tensor; ValueError if the merge has none, which recipes of methods that need it do not allow."""
        if self.load_base is None:
            raise ValueError("this method needs a base")
        return self.load_base()

    def difference(self, source: int) -> Tensor | None:
        """What a source adds to the base, where it is stored as such: the source is an adapter on the merge's base."""
        change = self._adapted_base(source)
        return None if change is None else change.difference

    def equals_base(self, source: int) -> bool:
        """Whether a source is an adapter on the merge's base that leaves this tensor as it is."""
        change = self._adapted_base(source)
        return change is not None and change.difference is None

    def _adapted_base(self, source: int) -> AdaptedTensor | None:
        if self.load_base is None or self.starts[source : source + 1] != (self.base,):
            return None
        return self.load_adapted(source)

    def all_tensors(self) -> list[Tensor]:
        """Every source's tensor, in the sources' order."""
        return [self.load(source) for source in range(len(self.draw.sources))]

    def once(self, what: Hashable, sources: tuple[int, ...], measure: Callable[[], Found]) -> Found:
        """A measurement of this tensor in some sources, from the cache if it is there.

        what: names the measurement, with all parameters that it depends on; sources and base are added to the key.
        """
        names = tuple(self.draw.sources[source] for source in sources)
        base = None if self.load_base is None else self.base
        return self.measurements.once((what, self.draw.tensor_name, base, names), measure)

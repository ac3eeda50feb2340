"""Keys and values that rows borrow from a trunk, and those that grow with a generation.

All layers keep every position, sliding windows or not: who sees what is the mask's business (masks.py), so that
shared beginnings and rows of many lengths need no special case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

State = tuple[tuple[Tensor, Tensor], ...]
"""Keys and values of a beginning, by layer, each [1, heads, tokens, head size]."""


class _Borrowing(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """Puts a trunk before what is computed, and keeps nothing."""

    keys: Tensor
    values: Tensor

    def __init__(self, prefix: tuple[Tensor, Tensor] | None) -> None:
        super().__init__()
        self._prefix = prefix

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if self._prefix is None:
            return key_states, value_states
        return _behind(self._prefix[0], key_states), _behind(self._prefix[1], value_states)


class _Keeping(_Borrowing):
    """Keeps the trunk and what was computed behind it, which is the trunk of what comes next."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self.keys, self.values = self._prefix = super().update(key_states, value_states)
        return self._prefix


def _behind(prefix: Tensor, states: Tensor) -> Tensor:
    return torch.cat([prefix.expand(states.shape[0], -1, -1, -1), states], dim=2)


def borrowing(prefix: State | None, layers: int) -> Cache:
    """A cache for rows that are read once."""
    return Cache(layers=[_Borrowing(states) for states in prefix or [None] * layers])


def keeping(prefix: State | None, layers: int) -> Cache:
    """A cache that becomes the next trunk's: see `state_of`."""
    return Cache(layers=[_Keeping(states) for states in prefix or [None] * layers])


def state_of(cache: Cache) -> State:
    """What a cache made by `keeping` holds after its forward pass."""
    return tuple((layer.keys, layer.values) for layer in cache.layers)


class _Growing(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """Room for every token that the rows may come to; the column of a token is its position."""

    keys: Tensor
    values: Tensor
    is_initialized: bool

    def __init__(self, growth: Growth) -> None:
        super().__init__()
        self._growth = growth
        self._prefix: tuple[Tensor, Tensor] | None = None
        self._filled = 0

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        growth = self._growth
        if not self.is_initialized:
            self.keys, self.values = growth.room(key_states), growth.room(value_states)
            self.is_initialized = True
        if growth.columns is None:
            return self._prefill(key_states, value_states)
        every = growth.every
        self.keys[every, :, growth.columns] = key_states[:, :, 0]
        self.values[every, :, growth.columns] = value_states[:, :, 0]
        return self.keys[:, :, : growth.seen], self.values[:, :, : growth.seen]

    def begin(self, prefix: tuple[Tensor, Tensor] | None) -> None:
        """The next rows stand on this trunk."""
        self._prefix, self._filled = prefix, 0

    def _prefill(self, *states: Tensor) -> tuple[Tensor, Tensor]:
        rows = self._growth.rows
        keys, values = self.keys[rows], self.values[rows]
        if self._prefix is not None and not self._filled:
            self._filled = self._prefix[0].shape[2]
            keys[:, :, : self._filled], values[:, :, : self._filled] = self._prefix
        start, self._filled = self._filled, self._filled + states[0].shape[2]
        keys[:, :, start : self._filled], values[:, :, start : self._filled] = states
        return keys[:, :, : self._filled], values[:, :, : self._filled]


class Growth:
    """The cache of a batch of generations: filled row by row, then longer by a token at each step.

    rows: that are being filled. columns: where the next token of each row goes, [rows]; None while filling.
    """

    def __init__(self, count: int, width: int, layers: int) -> None:
        self._count, self._width = count, width
        self.cache = Cache(layers=[_Growing(self) for _ in range(layers)])
        self.rows = slice(0, count)
        self.columns: Tensor | None = None
        self.every: Tensor | None = None
        self.seen = 0

    def room(self, states: Tensor) -> Tensor:
        """Zeros: what a mask hides must be finite all the same."""
        return states.new_zeros(self._count, states.shape[1], self._width, states.shape[3])

    def fill(self, rows: slice, prefix: State | None) -> Cache:
        """The cache for the beginnings of some rows behind a trunk."""
        self.rows, self.columns = rows, None
        for layer, states in zip(self.cache.layers, prefix or [None] * len(self.cache.layers), strict=True):
            layer.begin(states)
        return self.cache

    def step(self, columns: Tensor, seen: int) -> Cache:
        """The cache for one more token of every row; columns from `seen` on are empty."""
        self.columns, self.seen = columns, seen
        self.every = torch.arange(len(columns), device=columns.device)
        return self.cache

    def keep(self, rows: Sequence[int]) -> None:
        """Lets go of all rows but these."""
        for layer in self.cache.layers:
            index = torch.tensor(rows, device=layer.keys.device)
            layer.keys, layer.values = layer.keys[index], layer.values[index]

"""Key/value caches for transformers: rows that continue a shared prefix, and generations that grow.

All layers keep every position, even those with sliding windows: the masks (masks.py) decide what is seen, so that
shared prefixes and rows of different lengths need no special case.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

State = tuple[tuple[Tensor, Tensor], ...]
"""Keys and values of a prefix, for each layer, each [1, heads, tokens, head size]."""


class _ReadingLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """Puts the prefix before the new keys and values, and stores nothing."""

    keys: Tensor
    values: Tensor

    def __init__(self, prefix: tuple[Tensor, Tensor] | None) -> None:
        super().__init__()
        self._prefix = prefix

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        if self._prefix is None:
            return key_states, value_states
        return _append(self._prefix[0], key_states), _append(self._prefix[1], value_states)


class _StoringLayer(_ReadingLayer):
    """Puts the prefix before the new keys and values, and stores both as the prefix of what comes next."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        self.keys, self.values = self._prefix = super().update(key_states, value_states)
        return self._prefix


def _append(prefix: Tensor, states: Tensor) -> Tensor:
    return torch.cat([prefix.expand(states.shape[0], -1, -1, -1), states], dim=2)


def make_reading_cache(prefix: State | None, layers: int) -> Cache:
    """A cache for rows that are read once."""
    return Cache(layers=[_ReadingLayer(states) for states in prefix or [None] * layers])


def make_storing_cache(prefix: State | None, layers: int) -> Cache:
    """A cache that stores what it reads: for rows in several pieces, and for prefixes (see `stored_state`)."""
    return Cache(layers=[_StoringLayer(states) for states in prefix or [None] * layers])


def stored_state(cache: Cache) -> State:
    """Keys and values in a cache made by `make_storing_cache`, after its forward pass."""
    return tuple((layer.keys, layer.values) for layer in cache.layers)


class _GenerationLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """Space for every token that the rows may reach; the column of a token is its position."""

    keys: Tensor
    values: Tensor
    is_initialized: bool

    def __init__(self, shared: GenerationCache) -> None:
        super().__init__()
        self._shared = shared
        self._prefix: tuple[Tensor, Tensor] | None = None
        self._filled = 0

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        shared = self._shared
        if not self.is_initialized:
            self.keys, self.values = shared.room(key_states), shared.room(value_states)
            self.is_initialized = True
        if shared.columns is None:
            return self._prefill(key_states, value_states)
        every = shared.every
        self.keys[every, :, shared.columns] = key_states[:, :, 0]
        self.values[every, :, shared.columns] = value_states[:, :, 0]
        return self.keys[:, :, : shared.seen], self.values[:, :, : shared.seen]

    def begin(self, prefix: tuple[Tensor, Tensor] | None) -> None:
        """Start new rows, which continue this prefix."""
        self._prefix, self._filled = prefix, 0

    def _prefill(self, *states: Tensor) -> tuple[Tensor, Tensor]:
        rows = self._shared.rows
        keys, values = self.keys[rows], self.values[rows]
        if self._prefix is not None and not self._filled:
            self._filled = self._prefix[0].shape[2]
            keys[:, :, : self._filled], values[:, :, : self._filled] = self._prefix
        start, self._filled = self._filled, self._filled + states[0].shape[2]
        keys[:, :, start : self._filled], values[:, :, start : self._filled] = states
        return keys[:, :, : self._filled], values[:, :, : self._filled]


class GenerationCache:
    """The cache of a batch of generations: filled with the prompts, then extended by one token a row at each step.

    rows: the rows that are being filled. columns: column of each row's next token, [rows]; None while filling.
    every: indices of all rows. seen: columns in use.
    """

    def __init__(self, count: int, width: int, layers: int) -> None:
        self._count, self._width = count, width
        self.cache = Cache(layers=[_GenerationLayer(self) for _ in range(layers)])
        self.rows = slice(0, count)
        self.columns: Tensor | None = None
        self.every: Tensor | None = None
        self.seen = 0

    def room(self, states: Tensor) -> Tensor:
        """Zeros of the cache's size; not uninitialised, because NaN in hidden columns would still spread."""
        return states.new_zeros(self._count, states.shape[1], self._width, states.shape[3])

    def fill(self, rows: slice, prefix: State | None) -> Cache:
        """The cache for reading the prompts of some rows, which continue a prefix."""
        self.rows, self.columns = rows, None
        for layer, states in zip(self.cache.layers, prefix or [None] * len(self.cache.layers), strict=True):
            layer.begin(states)
        return self.cache

    def step(self, columns: Tensor, seen: int) -> Cache:
        """The cache for reading one more token of every row; columns from `seen` on are empty."""
        self.columns, self.seen = columns, seen
        self.every = torch.arange(len(columns), device=columns.device)
        return self.cache

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Drop all rows but these."""
        for layer in self.cache.layers:
            index = torch.tensor(rows, device=layer.keys.device)
            layer.keys, layer.values = layer.keys[index], layer.values[index]

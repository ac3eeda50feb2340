"""Attention masks: which keys each token sees, in the form that a transformers model takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Windows = Mapping[str, int | None] | int | None
"""Number of positions that layers see back (None: all); by layer type if the model takes a mask for each type."""


def read_windows(config: PretrainedConfig) -> Windows:
    """The windows of a transformers text config whose layer types are full and sliding attention alone."""
    window: int | None = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return window
    return {kind: window if kind == "sliding_attention" else None for kind in sorted(set(kinds))}


@dataclass(frozen=True)
class Visibility:
    """Which keys each query sees, without regard to windows.

    seen: bool, [rows, queries, keys]. queries, keys: their positions, [rows, queries] and [rows or 1, keys].
    """

    seen: Tensor
    queries: Tensor
    keys: Tensor

    def mask(self, windows: Windows, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
        """Additive masks [rows, 1, queries, keys]: 0 where a key is seen, else the dtype's lowest number.

        With a window of w, position q sees the positions q - w + 1 to q, as in transformers.
        """
        if isinstance(windows, Mapping):
            by_window = {window: self._additive(window, dtype) for window in set(windows.values())}
            return {kind: by_window[window] for kind, window in windows.items()}
        return self._additive(windows, dtype)

    def _additive(self, window: int | None, dtype: torch.dtype) -> Tensor:
        seen = self.seen
        if window is not None:
            seen = seen & (self.queries[:, :, None] - self.keys[:, None, :] < window)
        zero = torch.zeros((), dtype=dtype, device=seen.device)
        return torch.where(seen, zero, torch.finfo(dtype).min)[:, None]


def piece_visibility(ends: Tensor, positions: Tensor, known: int, piece: slice) -> Visibility:
    """The visibility of a piece of the columns: the prefix's `known` tokens, and ancestors among the columns so far.

    ends, positions: [rows, columns], see tree.Row. A padding column sees itself (ends = its column + 1), because
    softmax over nothing would give NaN.
    """
    rows = len(ends)
    keys = torch.arange(piece.stop, device=ends.device)
    queries = keys[piece, None]
    own = (keys <= queries) & (queries < ends[:, None, : piece.stop])
    prefix = torch.arange(known, device=ends.device)
    seen = torch.cat([own.new_ones(rows, len(queries), known), own], dim=2)
    return Visibility(
        seen, positions[:, piece], torch.cat([prefix.expand(rows, known), positions[:, : piece.stop]], dim=1)
    )


def step_visibility(positions: Tensor, width: int) -> Visibility:
    """The visibility of one new token a row, at `positions` ([rows]): the cache's `width` columns are positions."""
    keys = torch.arange(width, device=positions.device)[None]
    return Visibility((keys <= positions[:, None])[:, None], positions[:, None], keys)

"""What each token may look at, from positions alone, in the form that a model takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Windows = Mapping[str, int | None] | int | None
"""How far back the layers see (None: all the way), by layer type where a model takes a mask for each."""


def windows_of(config: Any) -> Windows:
    """The windows of a transformers text config whose layer types are full and sliding attention alone."""
    window: int | None = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return window
    return {kind: window if kind == "sliding_attention" else None for kind in sorted(set(kinds))}


@dataclass(frozen=True)
class Sight:
    """Which keys are seen ([rows, queries, keys], bool), and the positions: [rows, queries] and [rows or 1, keys]."""

    seen: Tensor
    queries: Tensor
    keys: Tensor

    def mask(self, windows: Windows, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
        """Additive masks [rows, 1, queries, keys]: 0 where a key is seen, else the least number of the dtype.

        A window of w lets position q see the positions q - w + 1 to q, as transformers has it.
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


def rows_after_prefix(ends: Tensor, positions: Tensor, known: int, piece: slice) -> Sight:
    """Sight of a piece of the columns of rows (`ends` and `positions`: [rows, columns], see tree.Row) behind `known`
    tokens of a trunk; what stands behind the piece is not there yet.

    A padding column, for it needs something to look at, is given itself: ends = its column + 1.
    """
    rows = len(ends)
    keys = torch.arange(piece.stop, device=ends.device)
    queries = keys[piece, None]
    own = (keys <= queries) & (queries < ends[:, None, : piece.stop])
    prefix = torch.arange(known, device=ends.device)
    seen = torch.cat([own.new_ones(rows, len(queries), known), own], dim=2)
    return Sight(seen, positions[:, piece], torch.cat([prefix.expand(rows, known), positions[:, : piece.stop]], dim=1))


def one_more_token(positions: Tensor, width: int) -> Sight:
    """Sight of one token a row at `positions` ([rows]) in a cache whose columns are positions."""
    keys = torch.arange(width, device=positions.device)[None]
    return Sight((keys <= positions[:, None])[:, None], positions[:, None], keys)

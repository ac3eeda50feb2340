"""Rows of the tree as tensors, padded to one width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evaluation.engine.tree import Row

MASK_CELLS = 2**25
"""Of one mask, which has a cell for each token and each that it may look at: that of a whole window of 32768 tokens
would have 2**30, of some bytes each."""


@dataclass(frozen=True)
class RowTensors:
    """Tokens, positions and ends (tree.Row) of some rows behind the trunk numbered `prefix`; each [rows, width]."""

    prefix: int
    known: int
    tokens: Tensor
    positions: Tensor
    ends: Tensor

    @classmethod
    def of(cls, rows: Sequence[Row], prefix: int, known: int, device: torch.device) -> RowTensors:
        """Rows behind a trunk of `known` tokens, padded on the right with columns that see themselves alone."""
        width = max(len(row.tokens) for row in rows)
        tokens = [row.tokens + (0,) * (width - len(row.tokens)) for row in rows]
        positions = [row.positions + (0,) * (width - len(row.tokens)) for row in rows]
        ends = [row.ends + tuple(range(len(row.ends) + 1, width + 1)) for row in rows]
        made = (torch.tensor(values, device=device) for values in (tokens, positions, ends))
        return cls(prefix, known, *made)

    @property
    def width(self) -> int:
        """Columns."""
        return self.tokens.shape[1]

    @property
    def pieces(self) -> list[slice]:
        """Runs of columns that are read one after the other, so that no mask is too large; nearly always one."""
        at_once = max(1, MASK_CELLS // (len(self.tokens) * (self.known + self.width)))
        return [slice(start, min(start + at_once, self.width)) for start in range(0, self.width, at_once)]

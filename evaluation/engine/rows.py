"""Rows of the tree as tensors, padded to one width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evaluation.engine.tree import Row

MASK_CELLS = 2**25
"""Cells of the largest mask. A mask has one for each pair of query and key: 2**30, of several bytes each, for a whole
window of 32768 tokens."""


@dataclass(frozen=True)
class RowTensors:
    """Tokens, positions and ends (see tree.Row) of rows that continue the prefix numbered `prefix`; each [rows, width].

    known: number of tokens up to the end of that prefix.
    """

    prefix: int
    known: int
    tokens: Tensor
    positions: Tensor
    ends: Tensor

    @classmethod
    def of(cls, rows: Sequence[Row], prefix: int, known: int, device: torch.device) -> RowTensors:
        """The rows, padded on the right with columns that see themselves alone."""
        width = max(len(row.tokens) for row in rows)
        tokens = [row.tokens + (0,) * (width - len(row.tokens)) for row in rows]
        positions = [row.positions + (0,) * (width - len(row.tokens)) for row in rows]
        ends = [row.ends + tuple(range(len(row.ends) + 1, width + 1)) for row in rows]
        made = (torch.tensor(values, device=device) for values in (tokens, positions, ends))
        return cls(prefix, known, *made)

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.tokens.shape[1]

    @property
    def pieces(self) -> list[slice]:
        """Ranges of columns that are read one after the other, so that no mask is too large; nearly always one."""
        at_once = max(1, MASK_CELLS // (len(self.tokens) * (self.known + self.width)))
        return [slice(start, min(start + at_once, self.width)) for start in range(0, self.width, at_once)]

"""Rows of the tree as tensors, padded to one width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evaluation.engine.tree import Row


@dataclass(frozen=True)
class RowTensors:
    """Tokens, positions and ends (tree.Row) of some rows behind the trunk numbered `trunk`; each [rows, width]."""

    trunk: int
    known: int
    tokens: Tensor
    positions: Tensor
    ends: Tensor

    @classmethod
    def of(cls, rows: Sequence[Row], trunk: int, known: int, device: torch.device) -> RowTensors:
        """Rows behind a trunk of `known` tokens, padded on the right with columns that see themselves alone."""
        width = max(len(row.tokens) for row in rows)
        tokens = [row.tokens + (0,) * (width - len(row.tokens)) for row in rows]
        positions = [row.positions + (0,) * (width - len(row.tokens)) for row in rows]
        ends = [row.ends + tuple(range(len(row.ends) + 1, width + 1)) for row in rows]
        made = (torch.tensor(values, device=device) for values in (tokens, positions, ends))
        return cls(trunk, known, *made)

    @property
    def width(self) -> int:
        """Columns."""
        return self.tokens.shape[1]

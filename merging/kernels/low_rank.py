"""Products of two thin matrices, and the lengths of rows or columns; their bits depend on the inputs alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from merging.kernels import loops


def low_rank_product(up: Tensor, down: Tensor, scaling: float) -> Tensor:
    """s · up · down, in float32: products are added up in their order, and scaled at the end.

    up: (rows, rank). down: (rank, columns).
    """
    found = np.empty((up.shape[0], down.shape[1]), np.float32)
    loops.low_rank(up.contiguous().numpy(), down.contiguous().numpy(), scaling, found)
    return torch.from_numpy(found)


def squared_lengths(values: Tensor, of_columns: bool) -> Tensor:
    """The sum of the squares of each row, or of each column, in float64. values: float32 (rows, columns)."""
    found = np.zeros(values.shape[1 if of_columns else 0])
    loops.squares(values.contiguous().numpy(), not of_columns, found)
    return torch.from_numpy(found)

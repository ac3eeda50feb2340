"""Genomes as points, between which a kernel takes distances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from merging.evolution.operators import GeneColumns
from merging.spaces.space import Genome, SearchSpace

Array = NDArray[np.float64]


class GenePoints:
    """The points of a space's genomes.

    A number is its level scaled to 0…1, and the middle where it means nothing (its choice is not made). A choice has a
    column for each of its values, scaled so that any two of them are at distance 1; two values need a single column.

    genes: the gene of each column.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._levels = np.array(space.levels)
        self._columns = GeneColumns(space)
        self._many = [gene for gene in space.choices if space.levels[gene] > 2]
        single = np.setdiff1d(np.arange(len(space.levels)), self._many)
        repeated = np.repeat(self._many, self._levels[self._many]) if self._many else np.array([], dtype=int)
        self._single = single
        self.genes = np.concatenate([single, repeated]).astype(int)

    def __call__(self, genomes: Sequence[Genome]) -> Array:
        """The points, (genomes × columns)."""
        table = np.array(genomes, dtype=float).reshape(-1, len(self._levels))
        scaled = table / np.maximum(self._levels - 1, 1)
        scaled[:, self._columns.numbers] = np.where(
            self._columns.are_active(table), scaled[:, self._columns.numbers], 0.5
        )
        values = [table[:, [gene]] == np.arange(self._levels[gene]) for gene in self._many]
        return np.hstack([scaled[:, self._single], *(np.sqrt(0.5) * value for value in values)])

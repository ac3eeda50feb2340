"""Scalar products of tensors as vectors, which lengths and angles follow from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, combinations_with_replacement

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from merging.kernels import loops
from merging.kernels.arguments import pointers_to
from merging.kernels.inputs import Inputs
from merging.kernels.segments import rows_of, segments, width_of

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]


def gram(inputs: Inputs, sources: tuple[int, ...]) -> Matrix:
    """Gᵢⱼ = xᵢ · xⱼ of the sources' tensors as vectors, in float64; of their differences from the base if there is one.

    Shape (sources, sources).
    """
    return inputs.once("gram", sources, lambda: _gram(*_origins(inputs, sources)))


def row_gram(inputs: Inputs, sources: tuple[int, ...]) -> Matrix:
    """As `gram`, for each vector along the last dimension; shape (sources, sources, vectors)."""
    return inputs.once("row_gram", sources, lambda: _row_gram(*_origins(inputs, sources)))


def column_gram(inputs: Inputs, sources: tuple[int, ...]) -> Matrix:
    """As `gram`, for each vector along the first dimension; shape (sources, sources, vectors)."""
    return inputs.once("column_gram", sources, lambda: _column_gram(*_origins(inputs, sources)))


def _origins(inputs: Inputs, sources: tuple[int, ...]) -> tuple[list[Tensor], Tensor | None]:
    base = None if inputs.load_base is None else inputs.load_base()
    return [inputs.load(source) for source in sources], base


def _gram(tensors: list[Tensor], base: Tensor | None) -> Matrix:
    found = np.zeros((len(tensors),) * 2)
    flat = [tensor.reshape(-1) for tensor in tensors]
    bases = [] if base is None else [base.reshape(-1)]
    loops.products(pointers_to(flat), pointers_to(bases), 0, len(flat[0]), found)
    return _symmetric(found)


def _row_gram(tensors: list[Tensor], base: Tensor | None) -> Matrix:
    width = width_of(tensors[0])
    found = np.zeros((len(tensors), len(tensors), tensors[0].numel() // width))
    for start, parts in _differences(tensors, base, rows_of(width)):
        rows = [part.reshape(-1, width) for part in parts]
        here = slice(start // width, start // width + len(rows[0]))
        for row, column in _pairs(parts):
            found[row, column, here] = np.einsum("ij,ij->i", rows[row], rows[column])
    return _symmetric(found)


def _column_gram(tensors: list[Tensor], base: Tensor | None) -> Matrix:
    width = width_of(tensors[0], down=True)
    found = np.zeros((len(tensors), len(tensors), width))
    for _, parts in _differences(tensors, base, rows_of(width)):
        rows = [part.reshape(-1, width) for part in parts]
        for row, column in _pairs(parts):
            found[row, column] += np.einsum("ij,ij->j", rows[row], rows[column])
    return _symmetric(found)


def _differences(tensors: list[Tensor], base: Tensor | None, segment: int) -> Iterator[tuple[int, list[Vector]]]:
    """The start of each segment, and the tensors' parts in it, minus the base's if there is one.

    numpy sums them up in one thread, where torch would split them.
    """
    every = tensors if base is None else [*tensors, base]
    for start, parts in segments(every, segment=segment, dtype=torch.float64):
        if base is not None:
            parts = [part.sub_(parts[-1]) for part in parts[:-1]]
        yield start, [part.numpy() for part in parts]


def _pairs(parts: list[Vector]) -> Iterator[tuple[int, int]]:
    return combinations_with_replacement(range(len(parts)), 2)


def _symmetric(found: Matrix) -> Matrix:
    """A matrix of which only the upper half is filled, with the lower half filled alike."""
    for row, column in combinations(range(len(found)), 2):
        found[column, row] = found[row, column]
    return found

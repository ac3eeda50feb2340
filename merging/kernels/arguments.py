"""The arguments of compiled loops: tensors by address, and numbers in arrays.

numba keeps compiled loops on the disk until loops.py changes: after a change of the dtypes' numbers or of `pointer`
here, touch it. What is kept names the classes of this file, so one can only be renamed together with loops.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np
import torch
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
F = TypeVar("F", bound=Callable[..., Any])

F32, BF16, F16, F64 = 0, 1, 2, 3
_KINDS = {torch.float32: F32, torch.bfloat16: BF16, torch.float16: F16, torch.float64: F64}


class Pointers(NamedTuple):
    """Tensors by address: the address of each first element, and the number of its dtype in `_KINDS`."""

    addresses: Array
    kinds: Array


class Trims(NamedTuple):
    """A `Threshold` for each source: its value (float32) and its last index (int64)."""

    values: Array
    lasts: Array


class Terms(NamedTuple):
    """The changes of each source's difference d from the base, in this order; a row per source.

    are_differences: whether a source's tensor is d itself, and no base is to be subtracted (bool).
    Elements below `lower` become zero, elements that reach `upper` too; then d is multiplied by `factors` (float32,
    one per element; no rows: not at all), by `scales` and by `weights` (float32).
    """

    are_differences: Array
    lower: Trims
    upper: Trims
    factors: Array
    scales: Array
    weights: Array


class Rule(NamedTuple):
    """The rule that combines the terms: a sum, or TIES' election (`elect`); then b + scale · sum / divisor.

    by_weight: the divisor is the sum of the weights that took part in the election, element by element.
    """

    elect: bool
    by_weight: bool
    divisor: np.float32
    scale: np.float32


def pointers_to(tensors: Sequence[Tensor]) -> Pointers:
    """Addresses of flat and contiguous tensors: of float32, bfloat16, float16 or float64; they must stay alive."""
    return Pointers(
        np.array([tensor.data_ptr() for tensor in tensors], np.uint64),
        np.array([_KINDS[tensor.dtype] for tensor in tensors], np.int64),
    )


def compiled(function: F) -> F:
    """Compile a function to machine code that releases Python's lock; it is kept on the disk where possible."""
    settings = {"nogil": True, "error_model": "numpy"}
    made: F
    try:
        made = numba.njit(cache=True, **settings)(function)
    except RuntimeError:  # there is no folder that numba may write to
        made = numba.njit(**settings)(function)
    return made


@intrinsic  # type: ignore[untyped-decorator]
def pointer(_: Any, address: Any) -> Any:
    """An address as a pointer that `numba.carray` takes."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(address), generate

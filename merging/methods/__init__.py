"""The registry of merge methods: one file for each method or family of methods, which says all about it.

Reading it imports neither torch nor numba nor numpy; formulas import them when a tensor is merged.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from merging.methods import (
    arcee_fusion,
    karcher,
    linear,
    model_stock,
    multislerp,
    nearswap,
    passthrough,
    ram,
    sce,
    slerp,
    task_vectors,
)
from merging.specs.method import Method

# In the order in which messages and the watchlist's schema list the methods.
_FILES = (
    linear,
    slerp,
    multislerp,
    karcher,
    task_vectors,
    sce,
    model_stock,
    nearswap,
    arcee_fusion,
    ram,
    passthrough,
)
_METHODS: dict[str, Method] = {method.name: method for file in _FILES for method in file.METHODS}

METHODS: Mapping[str, Method] = MappingProxyType(_METHODS)
"""Every method by its name."""


def searched_methods() -> tuple[str, ...]:
    """The names of the methods that a search can vary."""
    return tuple(name for name, method in METHODS.items() if method.search is not None)

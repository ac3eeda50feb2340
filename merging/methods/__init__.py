"""Merge methods: each a function from one tensor's inputs to the merged tensor, computed in float32 on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from merging.methods.averages import linear, model_stock, passthrough
from merging.methods.consensus import ram, ramplus_tl, sce
from merging.methods.inputs import Draw, Inputs, Measurements, MergeFunction
from merging.methods.spherical import karcher, multislerp, nuslerp, slerp
from merging.methods.swaps import arcee_fusion, nearswap
from merging.methods.task_vectors import (
    breadcrumbs,
    breadcrumbs_ties,
    dare_linear,
    dare_ties,
    della,
    della_linear,
    task_arithmetic,
    ties,
)

__all__ = ["MERGES", "Draw", "Inputs", "Measurements", "MergeFunction"]

MERGES: Mapping[str, MergeFunction] = MappingProxyType(
    {
        method.__name__: method
        for method in (
            linear,
            slerp,
            nuslerp,
            multislerp,
            karcher,
            task_arithmetic,
            ties,
            dare_linear,
            dare_ties,
            della,
            della_linear,
            breadcrumbs,
            breadcrumbs_ties,
            sce,
            model_stock,
            nearswap,
            arcee_fusion,
            ram,
            ramplus_tl,
            passthrough,
        )
    }
)

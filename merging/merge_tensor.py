"""Merge one tensor by a recipe: the one function that the live model and the writer both call."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from merging.dtypes import torch_dtype
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kernels.inputs import Draw, Inputs, Measurements
from merging.methods import METHODS
from merging.recipes.weight_merge import WeightMerge
from merging.sources.weights import Weights


@torch.no_grad()
def merge_tensor(
    recipe: WeightMerge,
    name: str,
    load: Callable[[ModelId, str], Tensor],
    measurements: Measurements | None = None,
    *,
    into: Tensor | None = None,
) -> Tensor:
    """The merged tensor `name` in the recipe's dtype, on the CPU: summed in float32, rounded once.

    load: loads a source's tensor of that name, which is only read. measurements: kept by callers that merge the same
    sources again. into: a contiguous tensor of the result's shape and dtype that may be overwritten with it; use the
    returned tensor, whether it is this one or not.
    The result depends on nothing but the recipe, the name and the loaded values, so the bytes that are scored are
    the bytes that are published.

    Raises:
        MergingError: the result is not finite.
    """
    merge = recipe.tensor_merge(name)
    base = merge.base
    inputs = Inputs(
        values=merge.values,
        load=lambda source: load(merge.sources[source], name),
        load_base=None if base is None else lambda: load(base, name),
        draw=Draw(recipe.seed, name, tuple(map(str, merge.sources))),
        dtype=torch_dtype(recipe.dtype),
        base=str(base or ""),
        measurements=measurements or Measurements(),
        into=into,
    )
    return merge_inputs(merge.method, inputs)


@torch.no_grad()
def merge_inputs(method: str, inputs: Inputs) -> Tensor:
    """One tensor merged by a method; MergingError if the result is not finite."""
    return METHODS[method].formula(inputs)


def make_loader(recipe: WeightMerge, weights: Mapping[ModelId, Weights]) -> Callable[[ModelId, str], Tensor]:
    """Return the function that merge_tensor loads tensors with; MergingError if an origin's weights are missing."""
    for origin in recipe.origins:
        if origin not in weights:
            raise MergingError(f"sources: got {origin}: its checkpoint was not given")
    return lambda source, name: weights[source].tensor(name)

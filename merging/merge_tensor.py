"""The one function that turns a recipe into a tensor: the live model and the written release both call it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from merging.errors import MergingError
from merging.methods import MERGES, Draw, Inputs, Measurements
from merging.recipes.weight_merge import METHODS, ModelId, WeightMerge
from merging.sources.checkpoint import Checkpoint

TORCH_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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

    load: gives a source's tensor of that name; it is only read. measurements: kept by whoever merges the same
    sources again. into: a contiguous tensor of the result's shape and dtype that may be overwritten with it; the
    tensor that is returned is the one that counts.
    The result depends on nothing but the recipe, the name and the loaded values, so the bytes that are scored are
    the bytes that are published.
    A result that is not finite raises MergingError.
    """
    base = recipe.base
    inputs = Inputs(
        values={parameter: recipe.values(parameter, name) for parameter in METHODS[recipe.method].parameters},
        load=lambda source: load(recipe.sources[source], name),
        load_base=None if base is None else lambda: load(base, name),
        draw=Draw(recipe.seed, name, tuple(map(str, recipe.sources))),
        dtype=TORCH_DTYPES[recipe.dtype],
        base=str(base or ""),
        measurements=measurements or Measurements(),
        into=into,
    )
    return merge_inputs(recipe.method, inputs)


@torch.no_grad()
def merge_inputs(method: str, inputs: Inputs) -> Tensor:
    """One tensor merged by a method; MergingError if the result is not finite."""
    return MERGES[method](inputs)


def loader(recipe: WeightMerge, checkpoints: Mapping[ModelId, Checkpoint]) -> Callable[[ModelId, str], Tensor]:
    """What merge_tensor loads from; MergingError if the recipe names a source that has no checkpoint here."""
    for origin in recipe.origins:
        if origin not in checkpoints:
            raise MergingError(f"sources: got {origin}: its checkpoint was not given")
    return lambda source, name: checkpoints[source].tensor(name)

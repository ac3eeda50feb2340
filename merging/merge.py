"""The one function that turns a recipe into a tensor: the live model and the written release both call it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from merging.checkpoint import Checkpoint, is_finite
from merging.errors import MergingError
from merging.methods import MERGES, Draw, Inputs
from merging.recipe import METHODS, Recipe, SourceRef

TORCH_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@torch.no_grad()
def merge_tensor(recipe: Recipe, name: str, load: Callable[[SourceRef, str], Tensor]) -> Tensor:
    """The merged tensor `name` in the recipe's dtype, on the CPU: summed in float32, rounded once.

    load: gives a source's tensor of that name; it is only read. The result depends on nothing but the recipe,
    the name and the loaded values, so the bytes that are scored are the bytes that are published.
    A result that is not finite raises MergingError.
    """
    inputs = Inputs(
        values={parameter: recipe.values(parameter, name) for parameter in METHODS[recipe.method].parameters},
        load=lambda source: load(recipe.sources[source], name),
        load_base=lambda: load(_base(recipe), name),
        draw=Draw(recipe.seed, name, tuple(map(str, recipe.sources))),
        dtype=TORCH_DTYPES[recipe.dtype],
    )
    merged = MERGES[recipe.method](inputs)
    if not is_finite(merged):
        raise MergingError(f"tensor {name}: the merge is not finite in {recipe.dtype}: use smaller weights")
    return merged


def loader(recipe: Recipe, checkpoints: Mapping[SourceRef, Checkpoint]) -> Callable[[SourceRef, str], Tensor]:
    """What merge_tensor loads from; MergingError if the recipe names a source that has no checkpoint here."""
    for origin in recipe.origins:
        if origin not in checkpoints:
            raise MergingError(f"sources: got {origin}: its checkpoint was not given")
    return lambda source, name: checkpoints[source].tensor(name)


def _base(recipe: Recipe) -> SourceRef:
    if recipe.base is None:
        raise MergingError(f"base: got none: {recipe.method} merges differences from a base model, name it")
    return recipe.base

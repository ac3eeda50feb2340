"""Merge one tensor by a recipe: the one function that the live model and the writer both call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from merging.dtypes import torch_dtype
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kernels.inputs import Draw, Inputs, Measurements
from merging.kernels.segments import merge_by_segment
from merging.methods import METHODS
from merging.recipes.last_stage import LastStage
from merging.recipes.weight_merge import WeightMerge
from merging.sources.weights import AdaptedTensor, Weights


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

    load: loads a source's tensor of that name, which is only read. A `SourceLoader` tells adapters' changes as well;
        with them a merge has other bits than without. A recipe with a last stage needs one.
    measurements: kept by callers that merge the same sources again.
    into: a contiguous tensor of the result's shape and dtype that may be overwritten with it; use the returned tensor,
        whether it is this one or not.
    The result depends on nothing but the recipe, the name and the loaded values, so the bytes that are scored are
    the bytes that are published.

    Raises:
        MergingError: the result is not finite, or the last stage's adapter replaces the tensor.
    """
    merge = recipe.tensor_merge(name)
    base = merge.base
    change = load.adapted if isinstance(load, SourceLoader) else _not_adapted
    inputs = Inputs(
        values=merge.values,
        load=lambda source: load(merge.sources[source], name),
        load_base=None if base is None else lambda: load(base, name),
        draw=Draw(recipe.seed, name, tuple(map(str, merge.sources))),
        dtype=torch_dtype(recipe.dtype),
        base=str(base or ""),
        starts=tuple(str(source.plain) for source in merge.sources),
        load_adapted=lambda source: change(merge.sources[source], name),
        measurements=measurements or Measurements(),
        into=into,
    )
    return merge_and_add(merge.method, inputs, name, merge.last_stage, load)


@torch.no_grad()
def merge_and_add(
    method: str, inputs: Inputs, name: str, stage: LastStage | None, load: Callable[[ModelId, str], Tensor]
) -> Tensor:
    """The tensor `name` merged by a method, then what a last stage adds to it, rounded once together.

    load: a SourceLoader, where there is a last stage. MergingError if the result is not finite, or the last stage's
    adapter replaces the tensor.
    """
    added = None if stage is None else _added(stage, name, load)
    if stage is None or added is None:
        return merge_inputs(method, inputs)
    merged = merge_inputs(method, replace(inputs, dtype=torch.float32, into=None))
    return _sum(inputs, merged, added, stage.scale)


@torch.no_grad()
def merge_inputs(method: str, inputs: Inputs) -> Tensor:
    """One tensor merged by a method; MergingError if the result is not finite."""
    return METHODS[method].formula(inputs)


@dataclass(frozen=True)
class SourceLoader:
    """Loads tensors of some models, and what their adapters change in them."""

    weights: Mapping[ModelId, Weights]

    def __call__(self, source: ModelId, name: str) -> Tensor:
        """A source's tensor."""
        return self.weights[source].tensor(name)

    def may_change(self, source: ModelId, name: str) -> bool:
        """Whether a source's adapter may change a tensor."""
        return self.weights[source].may_change(name)

    def adapted(self, source: ModelId, name: str) -> AdaptedTensor | None:
        """The change that a source's adapter makes to a tensor, if it is one."""
        return self.weights[source].adapted(name)


def make_loader(recipe: WeightMerge, weights: Mapping[ModelId, Weights]) -> SourceLoader:
    """Return the function that merge_tensor loads tensors with; MergingError if an origin's weights are missing."""
    for origin in recipe.origins:
        if origin not in weights:
            raise MergingError(f"sources: got {origin}: its checkpoint was not given")
    return SourceLoader(weights)


def _added(stage: LastStage, name: str, load: Callable[[ModelId, str], Tensor]) -> Tensor | None:
    """What a last stage's adapter adds to a tensor before it is scaled; None for nothing."""
    if not isinstance(load, SourceLoader):
        raise TypeError("a last stage needs a SourceLoader")
    if not load.may_change(stage.adapted, name):
        return None
    change = load.adapted(stage.adapted, name)
    if change is None:
        raise MergingError(f"last_stage: {stage.adapter} replaces tensor {name}: use an adapter that only adds")
    return change.difference


def _sum(inputs: Inputs, merged: Tensor, added: Tensor, scale: float) -> Tensor:
    """merged + scale · added, rounded once to the dtype of the inputs. MergingError if it is not finite."""
    return merge_by_segment(inputs, [merged, added], lambda parts, _, __: parts[1].mul_(scale).add_(parts[0]))


def _not_adapted(_: ModelId, __: str) -> None:
    return None

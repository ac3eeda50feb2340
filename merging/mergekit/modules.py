"""The modules of a model in mergekit's YAML: its language model, and the components that shoal has besides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from merging.errors import MergingError
from merging.identity import ModelId
from merging.mergekit.module_names import VISION_LANGUAGE_MODULES
from merging.mergekit.parameters import spell_value
from merging.methods import METHODS
from merging.partition import Component, Partition, Searched, is_within
from merging.recipes.weight_merge import UNCHANGED, TensorMerge, WeightMerge


def language_part(recipe: WeightMerge) -> WeightMerge:
    """The merge of the language model alone, in the groups of its own.

    MergingError if the first component is not merged in groups of its own.
    """
    first = recipe.groups.components[0]
    if not isinstance(first.use, Searched):
        raise MergingError(f"groups: {first.name} has no groups of its own")
    width = len(first.use.labels)
    return WeightMerge(
        method=recipe.method,
        sources=recipe.sources,
        base=recipe.base,
        groups=Partition((Component("", (), first.layers, first.use),)),
        parameters=tuple((name, tuple(row[:width] for row in rows)) for name, rows in recipe.parameters),
        dtype=recipe.dtype,
        seed=recipe.seed,
    )


def other_modules(
    recipe: WeightMerge, tensor_names: Sequence[str], call: Mapping[ModelId, str], base_model: ModelId | None
) -> dict[str, Any]:
    """Name of a module besides the language model → its models and values.

    call: the models' names. base_model: the file's, which mergekit adds to the models of every module. A module that is
    the carrier's own is left out where this would change it. MergingError for a component that no module can say.
    """
    names = {component: module for module, component in reversed(tuple(VISION_LANGUAGE_MODULES.others.items()))}
    found = {}
    for one in recipe.groups.components[1:]:
        if one.name not in names:
            raise MergingError(f"it has no module for a component such as {one.name}")
        merge = _merge_of(recipe, one, tensor_names)
        alone = merge.sources[0] if merge.values == UNCHANGED else None
        if alone is None or (merge.method == recipe.method and base_model in (None, alone)):
            found[names[one.name]] = _module(merge, call)
        elif base_model in (None, alone):
            found[names[one.name]] = {"models": [{"model": call[alone]}]}
        elif alone != recipe.carrier:
            raise MergingError(f"its {one.name} is that of {alone}, and mergekit adds the base_model to each module")
    return found


def _merge_of(recipe: WeightMerge, component: Component, tensor_names: Sequence[str]) -> TensorMerge:
    """The merge of every tensor of a component; MergingError where they are not merged alike."""
    first, *others = [recipe.tensor_merge(name) for name in tensor_names if is_within(name, component.within)]
    if any(other != first for other in others):
        raise MergingError(f"the tensors of its {component.name} have several values, and a module has one")
    return first


def _module(merge: TensorMerge, call: Mapping[ModelId, str]) -> dict[str, Any]:
    """The models of a module, with their values of the parameters, and those that all of them share."""
    models: list[dict[str, Any]] = [{"model": call[source]} for source in merge.sources]
    shared = {}
    for name, parameter in METHODS[merge.method].parameters.items():
        values = [spell_value(parameter, value) for value in merge.values[name]]
        if parameter.per_source:
            for model, value in zip(models, values, strict=True):
                model.setdefault("parameters", {})[name] = value
        else:
            (shared[name],) = values
    return {"models": models, **({"parameters": shared} if shared else {})}

"""The files of a merge of weights: its tensors, its config, and its recipe for mergekit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from merging.identity import ModelId
from merging.merge_tensor import make_loader, merge_tensor
from merging.mergekit.writer import to_mergekit_yaml
from merging.models.building import build_empty_model, read_schema
from merging.models.schema import match_tensors
from merging.recipes.weight_merge import WeightMerge
from merging.sources.json_object import read_json_object
from merging.sources.weights import Weights
from merging.writing.file_plan import FilePlan, mergekit_yaml_or_reason


def plan_weight_merge(recipe: WeightMerge, weights: Mapping[ModelId, Weights], config_source: Path) -> FilePlan:
    """Plan the files of a merge of weights.

    weights: the weights of every origin. config_source: folder of the config.json. MergingError if they do not fit.
    """
    load = make_loader(recipe, weights)
    origins = {origin: weights[origin] for origin in recipe.origins}
    first = origins[recipe.origins[0]]
    outline = read_schema(build_empty_model(config_source, recipe.dtype, "meta"))
    shapes = {name: first.header(name).shape for name in match_tensors(outline, origins.values())}
    recipe.groups.check_names(shapes)
    return FilePlan(
        shapes=shapes,
        make=lambda name, memory: merge_tensor(recipe, name, load, into=memory),
        config=read_json_object(config_source / "config.json"),
        mergekit_yaml=mergekit_yaml_or_reason(lambda: to_mergekit_yaml(recipe, shapes)),
    )

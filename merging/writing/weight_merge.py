"""The files of a merge of weights: its tensors, its config, and its recipe for mergekit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from merging.identity import ModelId
from merging.merge_tensor import make_loader, merge_tensor
from merging.mergekit.writer import to_mergekit_yaml
from merging.models.building import build_empty_model, read_schema
from merging.models.carrier import carry_origins
from merging.models.schema import match_tensors
from merging.recipes.weight_merge import WeightMerge
from merging.sources.json_object import read_json_object
from merging.sources.weights import Weights
from merging.writing.file_plan import FilePlan, mergekit_yaml_or_reason


def plan_weight_merge(recipe: WeightMerge, weights: Mapping[ModelId, Weights], config_source: Path) -> FilePlan:
    """Plan the files of a merge of weights.

    weights: the weights of every origin. config_source: folder of the config.json. MergingError if they do not fit.
    """
    schema = read_schema(build_empty_model(config_source, recipe.dtype, "meta"))
    carried, carrier = carry_origins(schema, recipe, weights, config_source)
    load = make_loader(recipe, carried)
    origins = {origin: carried[origin] for origin in recipe.origins}
    names = match_tensors(schema, origins.values())
    recipe.groups.check_names(names)
    written = written_names(names, carrier)
    config = read_json_object(config_source / "config.json")
    return FilePlan(
        shapes={stored: schema.shapes[names[name]] for stored, name in written.items()},
        make=lambda stored, memory: merge_tensor(recipe, written[stored], load, into=memory),
        config=config,
        mergekit_yaml=mergekit_yaml_or_reason(
            lambda: to_mergekit_yaml(recipe, names, model_type=str(config.get("model_type")))
        ),
    )


def written_names(names: Iterable[str], model: Weights) -> dict[str, str]:
    """Name of a tensor in a release → its name in the merge. The release has the names of one model's files."""
    return dict(sorted((model.stored_name(name), name) for name in names))

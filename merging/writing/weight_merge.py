"""All of a merge that depends on its recipe: the tensors of its files, its config, and its recipe's text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merging.merge_tensor import loader, merge_tensor
from merging.mergekit.writer import to_mergekit_yaml
from merging.models.building import build_empty_model, schema_of_model
from merging.models.schema import places
from merging.models.stored_model import read_config_json
from merging.recipes.weight_merge import ModelId, WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.writing.shards import Merge


@dataclass(frozen=True)
class Written:
    """shapes: tensor name → shape, in the order of writing. make: gives a tensor of that shape in the recipe's dtype.

    config: the config.json, but for its dtype. recipe: as mergekit's YAML.
    """

    shapes: Mapping[str, tuple[int, ...]]
    make: Merge
    config: Mapping[str, Any]
    recipe: str


def written_merge(recipe: WeightMerge, checkpoints: Mapping[ModelId, Checkpoint], config_source: Path) -> Written:
    """Plan the files of a merge of weights. checkpoints: of every origin. template: folder of its config.json."""
    load = loader(recipe, checkpoints)
    origins = {origin: checkpoints[origin] for origin in recipe.origins}
    first = origins[recipe.origins[0]]
    outline = schema_of_model(build_empty_model(config_source, recipe.dtype, "meta"))
    shapes = {name: first.header(name).shape for name in places(outline, origins)}
    return Written(
        shapes=shapes,
        make=lambda name, memory: merge_tensor(recipe, name, load, into=memory),
        config=read_config_json(config_source),
        recipe=to_mergekit_yaml(recipe, shapes),
    )

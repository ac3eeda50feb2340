"""The files of a path: each tensor taken from its part, with its hop's scale."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from merging.merge_tensor import loader, merge_tensor
from merging.mergekit.path_writer import path_to_mergekit_yaml
from merging.models.building import build_empty_model, schema_of_model
from merging.models.schema import places
from merging.models.stored_model import read_config_json
from merging.paths.folding import folded
from merging.paths.layout import lay_out, path_config
from merging.recipes.path import PathRecipe
from merging.recipes.weight_merge import ModelId
from merging.sources.checkpoint import Checkpoint
from merging.writing.weight_merge import Written


def written_path(path: PathRecipe, checkpoints: Mapping[ModelId, Checkpoint], config_source: Path) -> Written:
    """Plan the files of a path.

    checkpoints: of every origin. template: folder of the parts' config.json. MergingError as `lay_out` raises it.
    """
    loads = [loader(part, checkpoints) for part in path.parts]
    origins = {origin: checkpoints[origin] for origin in path.origins}
    config = read_config_json(config_source)
    names = tuple(places(schema_of_model(build_empty_model(config_source, path.dtype, "meta")), origins))
    layout = lay_out(path, names, config)
    first = origins[path.origins[0]]

    def make(name: str, memory: Tensor) -> Tensor:
        taken = layout[name]
        tensor = merge_tensor(path.parts[taken.part], taken.name, loads[taken.part], into=memory)
        scaled = folded(tensor, taken.fold, taken.stream)
        return scaled if scaled is tensor else memory.copy_(scaled)

    return Written(
        shapes={name: first.header(taken.name).shape for name, taken in sorted(layout.items())},
        make=make,
        config=path_config(path, config),
        recipe=path_to_mergekit_yaml(path, config, names),
    )

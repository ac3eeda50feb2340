"""The files of a path: each tensor taken from its part, with its hop's scale."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from merging.dataflow.folding import folded
from merging.dataflow.layout import lay_out, path_config
from merging.dataflow.mergekit import path_to_mergekit_yaml
from merging.dataflow.path import PathRecipe
from merging.merge import loader, merge_tensor
from merging.models.blueprint import read_config_json
from merging.models.outline import places
from merging.models.placement import empty_model, outline_of
from merging.recipe import SourceRef
from merging.sources.checkpoint import Checkpoint
from merging.writing.mixture import Written


def written_path(path: PathRecipe, checkpoints: Mapping[SourceRef, Checkpoint], template: Path) -> Written:
    """Plan the files of a path.

    checkpoints: of every origin. template: folder of the parts' config.json. MergingError as `lay_out` raises it.
    """
    loads = [loader(part, checkpoints) for part in path.parts]
    origins = {origin: checkpoints[origin] for origin in path.origins}
    config = read_config_json(template)
    names = tuple(places(outline_of(empty_model(template, path.dtype, "meta")), origins))
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

"""The files of a path: each tensor is a part's, with its hop's scale folded in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from merging.identity import ModelId
from merging.merge_tensor import make_loader, merge_tensor
from merging.mergekit.path_writer import path_to_mergekit_yaml
from merging.models.building import build_empty_model, read_schema
from merging.models.carrier import carry_origins
from merging.models.schema import match_tensors
from merging.paths.folding import fold_scale
from merging.paths.layout import Taken, lay_out, path_config
from merging.recipes.path import PathRecipe
from merging.sources.json_object import read_json_object
from merging.sources.weights import Weights
from merging.tensor_names import parse_name, renumber
from merging.writing.file_plan import FilePlan, mergekit_yaml_or_reason


def plan_path(path: PathRecipe, weights: Mapping[ModelId, Weights], config_source: Path) -> FilePlan:
    """Plan the files of a path.

    weights: the weights of every origin. config_source: folder of the parts' config.json. MergingError as `lay_out`
    raises it.
    """
    schema = read_schema(build_empty_model(config_source, path.dtype, "meta"))
    carried, carrier = carry_origins(schema, path, weights, config_source)
    loads = [make_loader(part, carried) for part in path.parts]
    config = read_json_object(config_source / "config.json")
    places = match_tensors(schema, [carried[origin] for origin in path.origins])
    layout = lay_out(path, places, config, schema.components)
    written = {_stored_name(name, taken, carrier): taken for name, taken in layout.items()}

    def make(name: str, memory: Tensor) -> Tensor:
        taken = written[name]
        tensor = merge_tensor(path.parts[taken.part], taken.name, loads[taken.part], into=memory)
        scaled = fold_scale(tensor, taken.fold, taken.stream)
        return scaled if scaled is tensor else memory.copy_(scaled)

    return FilePlan(
        shapes={name: schema.shapes[places[taken.name]] for name, taken in sorted(written.items())},
        make=make,
        config=path_config(path, config),
        mergekit_yaml=mergekit_yaml_or_reason(lambda: path_to_mergekit_yaml(path, config, tuple(places))),
    )


def _stored_name(name: str, taken: Taken, carrier: Weights) -> str:
    """The name of a result's tensor in its files: that of the one from which it is taken, with its own layer."""
    stored = carrier.stored_name(taken.name)
    layer = parse_name(name).layer
    return stored if layer is None or name == taken.name else renumber(stored, layer)

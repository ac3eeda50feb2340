"""The carrier of a merge of vision-language models, and the models whose language part it takes.

The carrier is the model that the result is like: its config, its processor, its names. A language model of the same
family as the carrier's decoder is read as the carrier's language component; it lacks all others.
"""

from __future__ import annotations

from collections.abc import Mapping

from merging.errors import MergingError
from merging.identity import ModelId
from merging.models.building import build_schema
from merging.models.schema import ModelSchema
from merging.models.stored_model import read_stored_model
from merging.sources.json_object import read_json_object
from merging.sources.renamed import RenamedWeights
from merging.sources.weights import Weights


def carry(schema: ModelSchema, models: Mapping[ModelId, Weights]) -> Mapping[ModelId, Weights]:
    """Models by the names of the carrier's tensors; where the result is a language model, they are as they were.

    schema: the carrier's. MergingError for a language model that is not of the carrier's decoder's family.
    """
    if not schema.components:
        return models
    return {model: _carried(schema, weights) for model, weights in models.items()}


def _carried(schema: ModelSchema, weights: Weights) -> Weights:
    own = build_schema(read_json_object(weights.folder / "config.json"), str(weights.folder))
    if own.components:
        return weights
    stored = {place: header.name for place, header in read_stored_model(weights).stored.items()}
    names = {_carried_name(schema, own, place, str(weights.folder)): name for place, name in stored.items()}
    for tied, target in own.tied.items():
        name = _carried_name(schema, own, tied, str(weights.folder))
        if name in schema.untied:
            names[name] = stored[target]
    return RenamedWeights(weights, names)


def _carried_name(schema: ModelSchema, own: ModelSchema, place: str, label: str) -> str:
    """The carrier's name of a language model's tensor: its decoder is the carrier's, and its head."""
    for path, target in zip(own.language, schema.language, strict=True):
        if place.startswith(f"{path}.") and (name := target + place.removeprefix(path)) in schema.shapes:
            return name
    raise MergingError(f"{label}: its {place} has no place in the language model of {schema.architecture}")

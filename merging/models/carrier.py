"""The carrier of a merge of vision-language models, and the models whose language part it takes.

The carrier is the model that the result is like: its config, its processor, its names. A language model of the same
family as the carrier's decoder is read as the carrier's language component; it lacks all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from merging.errors import MergingError
from merging.identity import ModelId
from merging.models.building import build_schema
from merging.models.components import lacked_components
from merging.models.schema import ModelSchema
from merging.models.stored_model import StoredModel, read_stored_model, stored_model_from_headers
from merging.recipes.recipe import Recipe
from merging.sources.family import TensorHeader
from merging.sources.renamed import RenamedWeights
from merging.sources.weights import Weights
from merging.tokenizers.carried_rows import with_carrier_rows


def carry(schema: ModelSchema, models: Mapping[ModelId, Weights], carrier: ModelId) -> Mapping[ModelId, Weights]:
    """Models by the names of the carrier's tensors; where the result is a language model, they are as they were.

    schema: the carrier's. carrier: the one of the models that gives the rows of the tokens that language models lack.
    MergingError for a language model that is not of the carrier's decoder's family.
    """
    if not schema.components:
        return models
    return {model: _carried(schema, weights, models[carrier]) for model, weights in models.items()}


def carry_origins(
    schema: ModelSchema, recipe: Recipe, weights: Mapping[ModelId, Weights], folder: Path
) -> tuple[Mapping[ModelId, Weights], Weights]:
    """(the models that a recipe reads, by the carrier's names; the carrier, whose files' names a release has).

    folder: of the config.json; that of the carrier, where the recipe names none. MergingError as `carry` raises it.
    """
    origins = {origin: weights[origin] for origin in recipe.origins}
    carrier = recipe.carrier or find_carrier(schema, origins, folder)
    return carry(schema, origins, carrier), origins[carrier]


def find_carrier(schema: ModelSchema, models: Mapping[ModelId, Weights], folder: Path) -> ModelId:
    """The model whose folder this is, else the first that has every component; MergingError if none has.

    An adapter has the folder of its base, so name the carrier where one is known.
    """
    found = [model for model, one in models.items() if not lacked_components(schema.components, one.names)]
    if not found:
        raise MergingError(
            f"{folder}: none of the models is a whole {schema.architecture}: name one that carries the others"
        )
    return next((model for model in found if models[model].folder == folder), found[0])


def check_carrier(recipe: Recipe, carrier: ModelId) -> None:
    """MergingError for a recipe in another carrier than the one by which its models are read."""
    if recipe.carrier not in (None, carrier):
        raise MergingError(f"carrier: got {recipe.carrier}: this live model was built in {carrier}")


def carried_headers(
    carrier: Mapping[str, object], config: Mapping[str, object], headers: Mapping[str, TensorHeader], label: str
) -> dict[str, TensorHeader]:
    """The headers of a model that is not on this machine, by the names of the carrier's tensors.

    carrier, config: the carrier's config.json and the model's. headers: by the names that merges of the model's own
    kind have for them. label: name of the model in errors. MergingError as `carry`.
    """
    schema, own = build_schema(carrier, "the carrier's config"), build_schema(config, label)
    if own.components:
        return dict(headers)
    stored = stored_model_from_headers(label, config, headers).stored
    names = _carried_names(schema, own, {place: place for place in stored}, label)
    return {name: replace(stored[place], name=name) for name, place in names.items()}


def carry_stored(carrier: StoredModel, model: StoredModel, label: str) -> StoredModel:
    """A language model before its weights are read, by the names of the carrier's tensors. MergingError as `carry`."""
    schema, own = build_schema(carrier.config, "the carrier's config"), build_schema(model.config, label)
    names = _carried_names(schema, own, {place: place for place in model.stored}, label)
    stored = {name: replace(model.stored[place], name=name) for name, place in names.items()}
    return StoredModel(model.config, stored, schema.vocabulary & stored.keys(), {}, carrier.tied)


def _carried(schema: ModelSchema, weights: Weights, carrier: Weights) -> Weights:
    label = str(weights.folder)
    own = build_schema(weights.config, label)
    if own.components:
        return weights
    stored = {place: header.name for place, header in read_stored_model(weights).stored.items()}
    named = RenamedWeights(weights, _carried_names(schema, own, stored, label))
    return with_carrier_rows(named, carrier, sorted(schema.vocabulary & schema.untied.keys()))


def _carried_names(schema: ModelSchema, own: ModelSchema, stored: Mapping[str, str], label: str) -> dict[str, str]:
    """The carrier's name of each tensor → the model's. stored: state-dict name → name, of the model's tensors."""
    names = {_carried_name(schema, own, place, label): name for place, name in stored.items()}
    for tied, target in own.tied.items():  # a head that is the embeddings, beside heads of their own
        name = _carried_name(schema, own, tied, label)
        if name in schema.untied:
            names[name] = stored[target]
    return names


def _carried_name(schema: ModelSchema, own: ModelSchema, place: str, label: str) -> str:
    """The carrier's name of a language model's tensor: its decoder is the carrier's, and its head."""
    for path, target in zip(own.language, schema.language, strict=True):
        if place.startswith(f"{path}.") and (name := target + place.removeprefix(path)) in schema.shapes:
            return name
    raise MergingError(f"{label}: its {place} has no place in the language model of {schema.architecture}")

"""A model as its config describes it, without transformers: its weights' names, shapes and ties, and what fits them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from merging.dtypes import NAMES
from merging.errors import MergingError
from merging.kinds.kind import Components
from merging.models.components import component_of, components_from_json, lacked_components
from merging.models.traits import Traits
from merging.sources.family import is_mask_buffer
from merging.sources.weights import Weights


@dataclass(frozen=True)
class ModelSchema:
    """The weights of a model that transformers builds from a config, by the names that its files have for them.

    architecture: name of the model's class. prefix: beginning of names that files of the model without its head
    lack. shapes: name → shape of every weight. fixed: names of those that are not of a floating-point dtype.
    tied: name of each tied weight → the name that it is tied to. vocabulary: names of those with a row per token: the
    input embeddings, and the head with its bias. ignored: pattern of names in files that transformers does not read.
    traits: what the layers compute besides their weights, by their numbers.
    language: paths of the modules that hold the language model: its decoder, and its head. components: name → such
    paths of each component, the language model first; empty for a model that is a language model and nothing else.
    """

    architecture: str
    prefix: str
    shapes: Mapping[str, tuple[int, ...]]
    fixed: frozenset[str]
    tied: Mapping[str, str]
    vocabulary: frozenset[str]
    ignored: str | None
    traits: Traits = field(default_factory=dict)
    language: tuple[str, ...] = ()
    components: Components = field(default_factory=dict)

    @property
    def untied(self) -> dict[str, tuple[int, ...]]:
        """Name → shape, with each tied weight once, under the name that the others are tied to."""
        return {name: shape for name, shape in sorted(self.shapes.items()) if name not in self.tied}

    def as_json(self) -> dict[str, object]:
        """Plain JSON values; `from_json` reads them back."""
        sets = {"fixed": sorted(self.fixed), "vocabulary": sorted(self.vocabulary)}
        traits = {key: list(values.items()) for key, values in self.traits.items()}
        mappings = {key: dict(getattr(self, key)) for key in ("shapes", "tied", "components")}
        return {**vars(self), **mappings, "traits": traits, **sets}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ModelSchema:
        """Read what `as_json` wrote."""
        shapes = {name: tuple(shape) for name, shape in values["shapes"].items()}
        sets = {key: frozenset(values[key]) for key in ("fixed", "vocabulary")}
        traits = {key: dict(pairs) for key, pairs in values["traits"].items()}
        parts = {"language": tuple(values["language"]), "components": components_from_json(values["components"])}
        return cls(**{**values, "shapes": shapes, "traits": traits, **sets, **parts})


def match_tensors(schema: ModelSchema, models: Iterable[Weights]) -> Mapping[str, str]:
    """Tensor name in the files → the weight's name in the schema, each once; all models must agree.

    A model may have been saved from the model without its head (names lack the model's base prefix), may
    hold a tied weight under any of its names, or twice with equal values, and may hold buffers that transformers itself
    ignores or that its older versions wrote. It may lack whole components, if another model has them.
    Whatever else does not fit, in either direction, raises MergingError naming model and tensor.
    """
    found = [(weights, _match(schema, weights)) for weights in models]
    if not found:
        raise MergingError("checkpoints: got none: at least one is needed")
    first, agreed = max(found, key=lambda pair: len(pair[1]))
    for weights, others in found:
        if not others.items() <= agreed.items():
            odd = min(others.items() - agreed.items())[0]
            raise MergingError(f"{weights.folder}: tensor {odd} is not stored as in {first.folder}")
    if lacking := lacked_components(schema.components, agreed.values()):
        raise MergingError(f"{first.folder}: it has no {lacking[0]}, nor has any other of these models")
    return agreed


def _match(schema: ModelSchema, weights: Weights) -> dict[str, str]:
    found = _known_names(schema, weights)
    taken: dict[str, str] = {}
    # A tied weight may be stored twice: the name that the others are tied to comes first, and is the one kept.
    for name in sorted(found, key=lambda name: found[name] in schema.tied):
        place = found[name]
        _check_header(schema, weights, name, place)
        kept = taken.setdefault(schema.tied.get(place, place), name)
        if kept != name and not torch.equal(weights.tensor(name), weights.tensor(kept)):
            raise MergingError(f"{weights.folder}: {name} and {kept} are tied, yet their values differ")
    lacking = lacked_components(schema.components, taken)
    for place in schema.shapes:
        if component_of(schema.components, place) in lacking:
            continue
        if schema.tied.get(place, place) not in taken:
            raise MergingError(f"{weights.folder}: the model's {place} is missing from the checkpoint")
    return {name: schema.tied.get(found[name], found[name]) for name in sorted(taken.values())}


def _known_names(schema: ModelSchema, weights: Weights) -> dict[str, str]:
    """Name in the files → name in the schema, without the tensors that transformers ignores."""
    ignored = re.compile(schema.ignored) if schema.ignored else None
    found = {}
    for name in weights.names:
        place = name if name in schema.shapes else f"{schema.prefix}.{name}"
        if place in schema.shapes:
            found[name] = place
        elif not (is_mask_buffer(weights.header(name)) or (ignored and ignored.search(name))):
            raise MergingError(f"{weights.folder}: tensor {name} has no place in {schema.architecture}")
    return found


def _check_header(schema: ModelSchema, weights: Weights, name: str, place: str) -> None:
    header = weights.header(name)
    if header.dtype not in NAMES or place in schema.fixed:
        raise MergingError(f"{weights.folder}: tensor {name} is of dtype {header.dtype}, which cannot be merged")
    if header.shape != schema.shapes[place]:
        expected = list(schema.shapes[place])
        raise MergingError(f"{weights.folder}: tensor {name} is {list(header.shape)}, the config says {expected}")

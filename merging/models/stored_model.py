"""A model before its weights are read: its config, and where each of its weights is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from merging.kinds.kind import Components
from merging.models.building import build_schema
from merging.models.schema import match_tensors
from merging.models.traits import Traits
from merging.sources.family import TensorHeader
from merging.sources.weights import Weights


@dataclass(frozen=True)
class StoredModel:
    """A model's config, and which of its weights each tensor in its files is.

    config: the content of config.json. stored: state-dict name → header of the tensor in the files.
    vocabulary: state-dict names of the tensors with a row per token. traits: what its layers compute by their numbers.
    tied: state-dict name of each tied weight → that of the one stored for both. components: those of the
    config's model; none of a language model.
    """

    config: Mapping[str, object]
    stored: Mapping[str, TensorHeader]
    vocabulary: frozenset[str]
    traits: Traits
    tied: Mapping[str, str]
    components: Components = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of tokens that the embeddings have rows for."""
        return min(self.stored[name].shape[0] for name in self.vocabulary)

    @property
    def ties_ends(self) -> bool:
        """Whether its head is its input embeddings."""
        return any(target in self.vocabulary for target in self.tied.values())

    def untied(self) -> StoredModel:
        """The same model with each tied weight under all its names, as a model that ties none has them."""
        copies = {name: self.stored[target] for name, target in self.tied.items() if target in self.stored}
        ends = {name for name in copies if self.tied[name] in self.vocabulary}
        return replace(self, stored={**self.stored, **copies}, vocabulary=self.vocabulary | ends, tied={})

    @property
    def by_token(self) -> dict[str, str]:
        """State-dict name → stored name of the tensors with a row per token."""
        return {name: self.stored[name].name for name in sorted(self.vocabulary)}


class HeaderOnlyWeights(Weights):
    """A model of which only the headers are known; tied tensors count as equal until their values are."""

    def __init__(
        self, label: str, headers: Mapping[str, TensorHeader], config: Mapping[str, object] | None = None
    ) -> None:
        """label: name of the model in errors. config: the content of its config.json, if it is known."""
        super().__init__(Path(label), headers)
        self._config = config

    @property
    def config(self) -> Mapping[str, object]:
        """The content of config.json; empty if it is not known."""
        return self._config or {}

    def tensor(self, name: str) -> Tensor:
        """A tensor without values: all of them are equal."""
        return torch.empty(0, *self.header(name).shape)

    def verify(self) -> None:
        """Do nothing: there are no values."""


def read_stored_model(weights: Weights) -> StoredModel:
    """Read the config.json of a model in a folder and match its tensors to it.

    MergingError: a broken config.json, or tensors that are not those of the model that it describes.
    """
    return _match(weights.config, weights, str(weights.folder))


def stored_model_from_headers(
    label: str, config: Mapping[str, object], headers: Mapping[str, TensorHeader]
) -> StoredModel:
    """Match the headers of a model that is not on this machine to its config. label: name of the model in errors.

    MergingError as `read_stored_model`.
    """
    return _match(config, HeaderOnlyWeights(label, headers, config), label)


def _match(config: Mapping[str, object], weights: Weights, label: str) -> StoredModel:
    schema = build_schema(config, label)
    found = match_tensors(schema, [weights])
    stored = {place: weights.header(name) for name, place in found.items()}
    return StoredModel(config, stored, schema.vocabulary & stored.keys(), schema.traits, schema.tied, schema.components)

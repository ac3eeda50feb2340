"""A model before its weights are read: its config, and where each of its weights is stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from merging.errors import MergingError
from merging.models.building import outline
from merging.models.schema import places
from merging.partition import layer_count
from merging.recipes.weight_merge import ModelId
from merging.sources.checkpoint import Checkpoint, TensorHeader


@dataclass(frozen=True)
class StoredModel:
    """config: as config.json has it. stored: state-dict name → header of the tensor in the model's files.

    vocabulary: those state-dict names whose tensors have a row per token.
    """

    config: Mapping[str, Any]
    stored: Mapping[str, TensorHeader]
    vocabulary: frozenset[str]

    @property
    def rows(self) -> int:
        """Tokens that the embeddings have room for."""
        return min(self.stored[name].shape[0] for name in self.vocabulary)

    @property
    def by_token(self) -> dict[str, str]:
        """State-dict name → stored name of the tensors with a row per token."""
        return {name: self.stored[name].name for name in sorted(self.vocabulary)}


class HeaderOnlyWeights:
    """A checkpoint of which only the headers are here; its tied twins count as equal until they are."""

    def __init__(self, label: str, headers: Mapping[str, TensorHeader]) -> None:
        self.folder = Path(label)
        self.headers = dict(sorted(headers.items()))
        self.names = tuple(self.headers)

    @property
    def layers(self) -> int:
        """Number of transformer layers."""
        return layer_count(self.headers)

    def header(self, name: str) -> TensorHeader:
        """A tensor's shape and dtype; MergingError if there is no such tensor."""
        if name not in self.headers:
            raise MergingError(f"{self.folder}: it has no tensor {name}")
        return self.headers[name]

    def tensor(self, name: str) -> Tensor:
        """No values: none are here."""
        return torch.empty(0, *self.header(name).shape)

    def verify(self) -> None:
        """There is nothing to verify."""


def read_stored_model(checkpoint: Checkpoint) -> StoredModel:
    """The blueprint of a model in a folder.

    MergingError: a broken config.json, or tensors that are not those of the model that it describes.
    """
    config = read_config_json(checkpoint.folder)
    return _stored_model(config, checkpoint, str(checkpoint.folder))


def stored_model_from_headers(
    label: str, config: Mapping[str, Any], headers: Mapping[str, TensorHeader]
) -> StoredModel:
    """The blueprint of a model that is elsewhere. label: what errors call it. MergingError as `read_stored_model`."""
    return _stored_model(config, HeaderOnlyWeights(label, headers), label)


def _stored_model(config: Mapping[str, Any], checkpoint: Any, label: str) -> StoredModel:
    model = outline(config, label)
    found = places(model, {ModelId(label, ""): checkpoint})
    stored = {place: checkpoint.header(name) for name, place in found.items()}
    return StoredModel(config, stored, model.vocabulary & stored.keys())


def read_config_json(folder: Path) -> dict[str, Any]:
    """A folder's config.json; MergingError if it is not there or no JSON object."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise MergingError(f"{path}: cannot be read as a JSON object ({error})") from error
    if not isinstance(config, dict):
        raise MergingError(f"{path}: cannot be read as a JSON object (it is a {type(config).__name__})")
    return config

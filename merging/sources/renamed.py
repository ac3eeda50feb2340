"""A model's weights under the names that merges have for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from merging.kinds import kind_of
from merging.sources.adapter_plan import base_tensor
from merging.sources.checkpoint import Checkpoint
from merging.sources.family import TensorHeader
from merging.sources.json_object import read_json_object
from merging.sources.weights import AdaptedTensor, Weights


class RenamedWeights(Weights):
    """Weights that are stored under other names than merges have for them."""

    def __init__(self, own: Weights, names: Mapping[str, str]) -> None:
        """own: the weights as they are stored. names: name in merges → name in `own`."""
        headers = {name: replace(own.header(stored), name=name) for name, stored in names.items()}
        super().__init__(own.folder, headers)
        self._own = own
        self._stored = names

    def stored_name(self, name: str) -> str:
        """The name of a tensor in the model's files."""
        return self._own.stored_name(self._stored[name])

    def tensor(self, name: str) -> Tensor:
        """A tensor as it is stored."""
        self.header(name)
        return self._own.tensor(self._stored[name])

    def adapted(self, name: str) -> AdaptedTensor | None:
        """What an adapter changes in a tensor."""
        self.header(name)
        return self._own.adapted(self._stored[name])

    def verify(self) -> None:
        """Read every weight as it is stored."""
        self._own.verify()


def open_model(folder: Path) -> Weights:
    """The weights in a model's folder, by the names that merges have for them; MergingError names what is wrong."""
    stored = Checkpoint.open(folder)
    config = read_json_object(folder / "config.json")
    names = kind_of(config).name_stored(config, str(folder), stored.names)
    if all(name == own for own, name in names.items()):
        return stored
    return RenamedWeights(stored, {name: own for own, name in names.items()})


def name_headers(
    config: Mapping[str, object], headers: Mapping[str, TensorHeader], label: str
) -> dict[str, TensorHeader]:
    """The headers of a model that is not on this machine, by the names that merges have for its tensors.

    config: the model's. label: name of the model in errors. MergingError if transformers cannot build the model.
    """
    names = kind_of(config).name_stored(config, label, headers)
    return {names[name]: replace(header, name=names[name]) for name, header in headers.items()}


def name_adapter_headers(
    config: Mapping[str, object], headers: Mapping[str, TensorHeader], label: str
) -> dict[str, TensorHeader]:
    """An adapter's headers by the names that they have beside the names in merges of its base's tensors.

    An adapter has the names of the version of transformers with which it was trained. config: the base's. Headers keep
    the names in the file. label: name of the base in errors. MergingError if transformers cannot build the base.
    """
    names = {key: base_tensor(key) for key in headers}
    named = kind_of(config).name_stored(config, label, set(names.values()))
    return {key.replace(_module(names[key]), _module(named[names[key]])): header for key, header in headers.items()}


def _module(tensor_name: str) -> str:
    return tensor_name.removesuffix(".weight")

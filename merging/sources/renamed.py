"""A model's weights under the names that merges have for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from merging.kinds import kind_of
from merging.sources.checkpoint import Checkpoint
from merging.sources.json_object import read_json_object
from merging.sources.model_config import read_model_config
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

    def may_change(self, name: str) -> bool:
        """Whether an adapter changes a tensor."""
        self.header(name)
        return self._own.may_change(self._stored[name])

    def verify(self) -> None:
        """Read every weight as it is stored."""
        self._own.verify()


def open_model(folder: Path) -> Weights:
    """The weights in a model's folder, by the names that merges have for them; MergingError names what is wrong."""
    return kind_of(read_model_config(folder)).open(folder)


def open_within(carrier: Path, place: Path) -> Weights:
    """As `open_model`, of a model or of what is only a part of one, which is read within the carrier's settings.

    carrier: folder of a model like the merges. place: folder of the other, or the file that is meant.
    """
    part = kind_of(read_model_config(carrier)).open_part(place, carrier)
    return open_model(place) if part is None else part


def open_checkpoint(folder: Path) -> Weights:
    """The weights in a folder with one config.json; MergingError names what is wrong."""
    stored = Checkpoint.open(folder)
    config = read_json_object(folder / "config.json")
    names = kind_of(config).name_stored(config, str(folder), stored.names)
    if all(name == own for own, name in names.items()):
        return stored
    return RenamedWeights(stored, {name: own for own, name in names.items()})

"""A model as its config describes it, without transformers: its weights' names, shapes and ties, and what fits them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from merging.errors import MergingError
from merging.recipes.weight_merge import ModelId
from merging.sources.checkpoint import Checkpoint
from merging.sources.family import MERGEABLE_DTYPES


@dataclass(frozen=True)
class ModelSchema:
    """What transformers says of a model that it builds from a config.

    architecture: name of the model's class. prefix: of the names of the model without its head.
    shapes: of every weight, by the name under which its files hold it. fixed: those that are no floating-point numbers.
    twins: each tied weight's name → the name that it is tied to. vocabulary: those that have a row per token: the
    input embeddings, and the head with its bias. ignored: pattern of names in files that it passes over.
    """

    architecture: str
    prefix: str
    shapes: Mapping[str, tuple[int, ...]]
    fixed: frozenset[str]
    tied: Mapping[str, str]
    vocabulary: frozenset[str]
    ignored: str | None

    @property
    def untied(self) -> dict[str, tuple[int, ...]]:
        """The shapes, each tied weight once, under the name that the others are tied to."""
        return {name: shape for name, shape in sorted(self.shapes.items()) if name not in self.tied}

    def as_json(self) -> dict[str, Any]:
        """For `from_json`."""
        sets = {"fixed": sorted(self.fixed), "vocabulary": sorted(self.vocabulary)}
        return {**vars(self), "shapes": dict(self.shapes), "tied": dict(self.tied), **sets}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ModelSchema:
        """What `as_json` was given."""
        shapes = {name: tuple(shape) for name, shape in values["shapes"].items()}
        sets = {key: frozenset(values[key]) for key in ("fixed", "vocabulary")}
        return cls(**{**values, "shapes": shapes, **sets})


def places(outline: ModelSchema, checkpoints: Mapping[ModelId, Checkpoint]) -> Mapping[str, str]:
    """Checkpoint tensor name → the weight's name in the outline, each once; all checkpoints must agree.

    A checkpoint may have been saved from the model without its head (names lack the model's base prefix), may
    hold a tied weight twice with equal values, and may hold buffers that transformers itself ignores.
    Whatever else does not fit, in either direction, raises MergingError naming checkpoint and tensor.
    """
    found = [(checkpoint, _places(outline, checkpoint)) for checkpoint in checkpoints.values()]
    if not found:
        raise MergingError("checkpoints: got none: at least one is needed")
    first, agreed = found[0]
    for checkpoint, others in found[1:]:
        if others != agreed:
            odd = min(set(others.items()) ^ set(agreed.items()))[0]
            raise MergingError(f"{checkpoint.folder}: tensor {odd} is not stored as in {first.folder}")
    return agreed


def _places(outline: ModelSchema, checkpoint: Checkpoint) -> dict[str, str]:
    found = _known(outline, checkpoint)
    taken: dict[str, str] = {}
    # Of a tied weight that is stored twice, the name that the others are tied to stands for all.
    for name in sorted(found, key=lambda name: found[name] in outline.tied):
        place = found[name]
        _check_header(outline, checkpoint, name, place)
        twin = taken.setdefault(outline.tied.get(place, place), name)
        if twin != name and not torch.equal(checkpoint.tensor(name), checkpoint.tensor(twin)):
            raise MergingError(f"{checkpoint.folder}: {name} and {twin} are tied, yet their values differ")
    for place in outline.shapes:
        if outline.tied.get(place, place) not in taken:
            raise MergingError(f"{checkpoint.folder}: the model's {place} is missing from the checkpoint")
    return {name: found[name] for name in sorted(taken.values())}


def _known(outline: ModelSchema, checkpoint: Checkpoint) -> dict[str, str]:
    """Each tensor's name among the weights, without the tensors that transformers passes over."""
    ignored = re.compile(outline.ignored) if outline.ignored else None
    found = {}
    for name in checkpoint.names:
        place = name if name in outline.shapes else f"{outline.prefix}.{name}"
        if place in outline.shapes:
            found[name] = place
        elif ignored is None or not ignored.search(name):
            raise MergingError(f"{checkpoint.folder}: tensor {name} has no place in {outline.architecture}")
    return found


def _check_header(outline: ModelSchema, checkpoint: Checkpoint, name: str, place: str) -> None:
    header = checkpoint.header(name)
    if header.dtype not in MERGEABLE_DTYPES or place in outline.fixed:
        raise MergingError(f"{checkpoint.folder}: tensor {name} is of dtype {header.dtype}, which cannot be merged")
    if header.shape != outline.shapes[place]:
        expected = list(outline.shapes[place])
        raise MergingError(f"{checkpoint.folder}: tensor {name} is {list(header.shape)}, the config says {expected}")

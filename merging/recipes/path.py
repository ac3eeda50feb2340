"""Paths through the layers of several models: merges in data-flow space (Akiba et al. 2024, arXiv 2403.13187)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import accumulate
from operator import mul
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from merging.errors import MergingError
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge

if TYPE_CHECKING:
    from merging.kinds.kind import LiveCandidates
    from merging.recipes.recipe import Recipe
    from merging.sources.weights import Weights
    from merging.writing.file_plan import FilePlan


@dataclass(frozen=True)
class Hop:
    """One layer on the path.

    part: index of the model that the layer is from. layer: its number in that model.
    scale: the factor of the residual stream before the layer; above 0.
    """

    part: int
    layer: int
    scale: float


@dataclass(frozen=True)
class PathRecipe:
    """One merge in data-flow space: a stack of layers from several models.

    parts: the models whose layers, embeddings or head are on the path: sources alone, or merges of their weights.
        Each is used, and none is listed twice; `path_recipe` ensures both.
    embedding, head: indices of the parts that give everything before the layers (the input embeddings), and
        everything after them (the final norm and the head).
    """

    KIND: ClassVar = "path"

    parts: tuple[WeightMerge, ...]
    hops: tuple[Hop, ...]
    embedding: int
    head: int

    def __post_init__(self) -> None:
        if not self.hops:
            raise MergingError("path: got no hops: at least one layer is needed")
        for number, hop in enumerate(self.hops):
            self._check_hop(f"path.hops[{number}]", hop)
        for name, part in (("embedding", self.embedding), ("head", self.head)):
            if not 0 <= part < len(self.parts):
                raise MergingError(f"path.{name}: got part {part}: there are {len(self.parts)}, counted from 0")
        if len({part.dtype for part in self.parts}) != 1:
            dtypes = ", ".join(part.dtype for part in self.parts)
            raise MergingError(f"path.parts: got parts in {dtypes}: give all of them one dtype")
        if len({part.vocabulary for part in self.parts}) != 1:
            raise MergingError("path.parts: got parts of several vocabularies: give all of them one")
        if len({part.carrier for part in self.parts}) != 1:
            raise MergingError("path.parts: got parts of several carriers: give all of them one")
        used = {hop.part for hop in self.hops} | {self.embedding, self.head}
        if used != set(range(len(self.parts))) or len({part.digest for part in self.parts}) != len(self.parts):
            raise MergingError(f"path.parts: got {len(self.parts)} parts, some unused or there twice: name each once")

    def _check_hop(self, place: str, hop: Hop) -> None:
        if not 0 <= hop.part < len(self.parts):
            raise MergingError(f"{place}.part: got {hop.part}: there are {len(self.parts)} parts, counted from 0")
        depth = self.parts[hop.part].groups.layers
        if not 0 <= hop.layer < depth:
            raise MergingError(f"{place}.layer: got {hop.layer}: the part has {depth} layers, counted from 0")
        if not (math.isfinite(hop.scale) and hop.scale > 0):
            raise MergingError(f"{place}.scale: got {hop.scale}: give a finite number above 0")

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the recipe's canonical JSON."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def method(self) -> str:
        """The name of this kind of merge in mergekit."""
        return "passthrough"

    @property
    def dtype(self) -> str:
        """The dtype of the live model and of the release."""
        return self.parts[0].dtype

    @property
    def vocabulary(self) -> tuple[ModelId, ...]:
        """The models that decide on the vocabulary, as in `WeightMerge`."""
        return self.parts[0].vocabulary

    @property
    def carrier(self) -> ModelId | None:
        """The model that gives what its parts lack, as in `WeightMerge`."""
        return self.parts[0].carrier

    @cached_property
    def merged_models(self) -> tuple[ModelId, ...]:
        """Every model that a part of the path merges or is, each once."""
        return tuple(dict.fromkeys(model for part in self.parts for model in part.merged_models))

    @cached_property
    def origins(self) -> tuple[ModelId, ...]:
        """Every checkpoint that the merge reads, each once, in the order of the parts."""
        return tuple(dict.fromkeys(origin for part in self.parts for origin in part.origins))

    @cached_property
    def merges(self) -> tuple[WeightMerge, ...]:
        """Those of the parts that are merges themselves, in their order."""
        return tuple(part for part in self.parts if not part.is_single)

    @cached_property
    def streams(self) -> tuple[float, ...]:
        """For each hop, the product of all scales up to and with its own."""
        return tuple(accumulate((hop.scale for hop in self.hops), mul))

    @property
    def steps(self) -> int | None:
        """None: no image generator is a path."""
        return None

    @property
    def size(self) -> int | None:
        """None, as for steps."""
        return None

    @property
    def depth(self) -> int:
        """Number of layers of the model."""
        return len(self.hops)

    @property
    def layers(self) -> tuple[int, ...]:
        """The number that each layer has in its part, in order."""
        return tuple(hop.layer for hop in self.hops)

    def describe(self) -> str:
        """The kind of merge in a few words: "path of 9 layers"."""
        return f"path of {self.depth} layer{'s' if self.depth > 1 else ''}"

    def plan_files(self, weights: Mapping[ModelId, Weights], config_source: Path) -> FilePlan:
        """Plan the written model, as `plan_path` does."""
        from merging.writing.path import plan_path  # imported here, because recipes are read without torch

        return plan_path(self, weights, config_source)

    def live_model(self, models: LiveCandidates) -> Any:
        """A model of the path's layers, which share the memory of its parts."""
        return models.path(self)

    def with_models(self, models: Mapping[ModelId, ModelId]) -> PathRecipe:
        """The same path through other models."""
        return replace(self, parts=tuple(part.with_models(models) for part in self.parts))

    def regrouped(self, groups: Partition, tensor_names: Sequence[str]) -> PathRecipe:
        """The same path; parts that are merges get values for the other groups."""
        return replace(self, parts=tuple(part.regrouped(groups, tensor_names) for part in self.parts))

    def to_json(self) -> dict[str, object]:
        """Plain JSON values; from_json reads them back to an equal recipe."""
        return {
            "kind": self.KIND,
            "parts": [part.to_json() for part in self.parts],
            "hops": [asdict(hop) for hop in self.hops],
            "embedding": self.embedding,
            "head": self.head,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PathRecipe:
        """Read what to_json wrote; anything else raises MergingError."""
        try:
            parts = tuple(map(WeightMerge.from_json, data["parts"]))
            hops = tuple(Hop(**hop) for hop in data["hops"])
            return cls(parts, hops, data["embedding"], data["head"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MergingError(f"path: not as shoal writes it ({type(error).__name__}: {error})") from error


def path_recipe(parts: Sequence[WeightMerge], hops: Sequence[Hop], embedding: int, head: int) -> Recipe:
    """Make a path in its canonical form: only the parts that are used, each once, in the order of their first use.

    A path that is one part unchanged gives that part. MergingError as `PathRecipe` raises it.
    """
    for name, part in (("embedding", embedding), ("head", head), *(("hop", hop.part) for hop in hops)):
        if not 0 <= part < len(parts):
            raise MergingError(f"path.{name}: got part {part}: there are {len(parts)}, counted from 0")
    order: dict[str, WeightMerge] = {}
    for index in (embedding, *(hop.part for hop in hops), head):
        order.setdefault(parts[index].digest, parts[index])
    place = {digest: number for number, digest in enumerate(order)}
    moved = [place.get(part.digest, -1) for part in parts]
    placed = tuple(Hop(moved[hop.part], hop.layer, hop.scale + 0.0) for hop in hops)
    whole = tuple(Hop(0, layer, 1.0) for layer in range(parts[embedding].groups.layers))
    if len(order) == 1 and placed == whole:
        return parts[embedding]
    return PathRecipe(tuple(order.values()), placed, moved[embedding], moved[head])

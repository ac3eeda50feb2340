"""The protocol of recipes, and how they are read from JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from merging.errors import MergingError
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.path import Hop, PathRecipe
from merging.recipes.weight_merge import WeightMerge

if TYPE_CHECKING:
    from merging.kinds.kind import LiveCandidates
    from merging.sources.weights import Weights
    from merging.writing.file_plan import FilePlan


class Recipe(Protocol):
    """One merge, named by its digest: immutable, and checked when it is made."""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the recipe's canonical JSON."""

    @property
    def method(self) -> str:
        """The method by mergekit's name."""

    @property
    def dtype(self) -> str:
        """The dtype of the live model and of the release."""

    @property
    def vocabulary(self) -> tuple[ModelId, ...]:
        """The models that decide on the vocabulary, the leading one first; empty where all models have the same."""

    @property
    def carrier(self) -> ModelId | None:
        """The model that gives components which merged models lack, and the names of the written tensors, if any."""

    @property
    def merged_models(self) -> tuple[ModelId, ...]:
        """Every model that is merged, each once: the origins without those that are read for their tokens alone."""

    @property
    def origins(self) -> tuple[ModelId, ...]:
        """Every model that the merge reads, each once."""

    @property
    def steps(self) -> int | None:
        """The number of steps in which an image generator draws; None: as many as each task says."""

    @property
    def size(self) -> int | None:
        """The side of a square of about as many pixels as its pictures have; None: they are as large as tasks say."""

    @property
    def depth(self) -> int:
        """Number of layers of the merged model."""

    @property
    def layers(self) -> tuple[int, ...]:
        """The number that each layer of the merged model has in its source, in order."""

    @property
    def parts(self) -> tuple[WeightMerge, ...]:
        """The models whose layers the merged model has: sources alone, or merges of weights."""

    @property
    def merges(self) -> tuple[WeightMerge, ...]:
        """The merges of weights that have numbers of their own to show, in order."""

    @property
    def hops(self) -> tuple[Hop, ...]:
        """The layers of a path; empty where no layers are rearranged."""

    @property
    def embedding(self) -> int:
        """Index of the part that gives everything before the layers."""

    @property
    def head(self) -> int:
        """Index of the part that gives everything after the layers."""

    def describe(self) -> str:
        """The kind of merge in a few words: "path of 9 layers", or a method."""

    def with_models(self, models: Mapping[ModelId, ModelId]) -> Recipe:
        """The same merge of other models. models: origin → the model in its place; those not named stay.

        MergingError if two of its models became one.
        """

    def regrouped(self, groups: Partition, tensor_names: Sequence[str]) -> Recipe:
        """The same merge with its values said for the groups of another partition of the same tensors.

        MergingError if one of these groups has tensors that the merge gives different values.
        """

    def to_json(self) -> dict[str, object]:
        """Plain JSON values; `read_recipe` reads them back to an equal recipe."""

    def plan_files(self, weights: Mapping[ModelId, Weights], config_source: Path) -> FilePlan:
        """Plan the written model: its tensors, its config and its recipe for mergekit.

        weights: the weights of every origin. config_source: folder of the config.json. MergingError if they do not fit.
        """

    def live_model(self, models: LiveCandidates) -> Any:
        """The merged model in memory, ready to score. MergingError as `LiveCandidates` raises it."""


RECIPES: Mapping[str, Callable[[Mapping[str, Any]], Recipe]] = MappingProxyType(
    {WeightMerge.KIND: WeightMerge.from_json, PathRecipe.KIND: PathRecipe.from_json}
)
"""Readers of recipes' JSON, by kind of recipe."""


def read_recipe(data: Mapping[str, Any]) -> Recipe:
    """Read a recipe of any kind that `to_json` wrote; anything else raises MergingError."""
    kind = data.get("kind", WeightMerge.KIND)  # weight merges of older versions name no kind
    if kind not in RECIPES:
        raise MergingError(f"recipe.kind: got {str(kind)[:60]!r}: use one of {', '.join(RECIPES)}")
    return RECIPES[kind](data)

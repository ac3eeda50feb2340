"""The protocol of search spaces: genomes, and the recipes that they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge

if TYPE_CHECKING:
    import numpy as np

Genome = tuple[int, ...]
"""An index per gene."""


class SearchSpace(Protocol):
    """A space that can be searched: genomes, each an index per gene, and the recipes that they mean."""

    @property
    def levels(self) -> tuple[int, ...]:
        """Number of values of each gene."""

    @property
    def choices(self) -> tuple[int, ...]:
        """The genes whose values have no order."""

    @property
    def switches(self) -> Mapping[int, int]:
        """Gene of a number that counts only where a choice is 1 → gene of that choice."""

    @property
    def size(self) -> int:
        """Number of genomes."""

    def singles(self) -> tuple[WeightMerge, ...]:
        """The merged models, each alone."""

    def seeds(self) -> tuple[Genome, ...]:
        """Genomes to start from, the most important first: a population may not have room for all."""

    def random_genomes(self, random: np.random.Generator) -> Iterator[Genome]:
        """Random genomes without end."""

    def edited(self, genome: Sequence[float], random: np.random.Generator) -> Sequence[float]:
        """Return the genome with one choice changed; the numbers of other choices stay with them."""

    def repaired(self, genome: Sequence[int]) -> Genome:
        """Return a genome that means a recipe, as similar to the given one as possible."""

    def decode(self, genome: Sequence[int]) -> Recipe:
        """The recipe that a genome means."""

    def encode(self, recipe: Recipe) -> Genome | None:
        """The genome that means a recipe, or one as near to it as possible; None where none is near.

        Recipes of other searches are encoded too: values off the grid are rounded to it, models that this space does
        not have are left out, and those that the recipe does not have take no part.
        """


class MergeSpace(SearchSpace, Protocol):
    """A space of weight merges: its sources, alone and in plain merges, are the baselines of every search."""

    @property
    def sources(self) -> tuple[ModelId, ...]:
        """The merged models."""

    @property
    def groups(self) -> Partition:
        """The partition of their tensors."""

    def alone(self, source: ModelId) -> WeightMerge:
        """The recipe that gives a source or the base back."""

    def as_candidate(self, recipe: WeightMerge) -> WeightMerge:
        """A merge, or a model alone, with all else that candidates have in their weights, such as a last stage."""

    def plain_recipes(self) -> tuple[tuple[str, WeightMerge], ...]:
        """Named merges that anyone gets without a search."""

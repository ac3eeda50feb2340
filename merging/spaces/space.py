"""What a search asks of a space; merging.spaces.weight_merges and merging.spaces.paths are the two that there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from merging.recipes.path import Recipe
from merging.recipes.weight_merge import WeightMerge

if TYPE_CHECKING:
    import numpy as np

Genome = tuple[int, ...]


class SearchSpace(Protocol):
    """What can be searched: genomes, each an index per gene, and the recipes that they mean."""

    @property
    def levels(self) -> tuple[int, ...]:
        """How many values each gene has."""

    @property
    def choices(self) -> tuple[int, ...]:
        """The genes whose values have no order."""

    @property
    def switches(self) -> Mapping[int, int]:
        """For each number that means something only where a choice is 1: its gene, and the choice's."""

    @property
    def size(self) -> int:
        """Number of genomes."""

    def singles(self) -> tuple[WeightMerge, ...]:
        """The models that are merged, each alone."""

    def seeds(self) -> tuple[Genome, ...]:
        """Genomes to start from, those first that matter most: a population has no room for more."""

    def random_genomes(self, random: np.random.Generator) -> Iterator[Genome]:
        """Random genomes without end."""

    def edited(self, genome: Sequence[float], random: np.random.Generator) -> Sequence[float]:
        """The genome with a choice changed, in the way of its kind; numbers stay with what they belong to."""

    def repaired(self, genome: Sequence[int]) -> Genome:
        """A genome that means a recipe, as like the given one as may be."""

    def decode(self, genome: Sequence[int]) -> Recipe:
        """The recipe that a genome means."""

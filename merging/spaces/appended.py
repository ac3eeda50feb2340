"""The search space of merges with one more number, which is no part of how their weights are merged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle
from math import floor, prod
from typing import TYPE_CHECKING, Protocol

from merging.errors import MergingError
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.last_stage import LastStage
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.space import Genome, MergeSpace
from merging.specs.genes import Gene

if TYPE_CHECKING:
    import numpy as np


class AppendedNumber(Protocol):
    """A number that recipes have besides their merge."""

    @property
    def gene(self) -> Gene:
        """Its values; one alone where it is fixed."""

    @property
    def usual(self) -> float:
        """The value of what has none."""

    @property
    def starts(self) -> Sequence[float]:
        """The values of what the search starts from, by turns."""

    def put(self, recipe: WeightMerge, value: float) -> WeightMerge:
        """The recipe with a value of the number."""

    def take(self, recipe: WeightMerge) -> tuple[WeightMerge, float | None]:
        """A recipe without the number, and the value that it had; None if it had none."""

    def complete(self, recipe: WeightMerge) -> WeightMerge:
        """A merge, or a model alone, as it is compared with others before the search."""

    def plain(self, merges: MergeSpace) -> tuple[tuple[str, WeightMerge], ...]:
        """Named merges that anyone gets without a search."""


@dataclass(frozen=True)
class LastStageScale:
    """The scale of a last stage. adapted: a model with its adapter. A merge with scale 0 has no last stage."""

    adapted: ModelId
    gene: Gene

    @classmethod
    def between(cls, adapted: ModelId, low: float, high: float, step: float) -> LastStageScale:
        """The scales from low to high, on a grid that begins at low."""
        steps = floor((high - low) / step + 1e-9)
        return cls(adapted, Gene("scale of the last stage", 0, None, low, low + steps * step, step))

    @property
    def usual(self) -> float:
        """1, as adapters are meant, or what is nearest to it."""
        return self.gene.value(self.gene.nearest(1.0))

    @property
    def starts(self) -> Sequence[float]:
        """The usual one alone."""
        return (self.usual,)

    def put(self, recipe: WeightMerge, value: float) -> WeightMerge:
        """The recipe with the stage at a scale."""
        return replace(recipe, last_stage=LastStage(self.adapted, value) if value else None)

    def take(self, recipe: WeightMerge) -> tuple[WeightMerge, float | None]:
        """A recipe without its last stage, and the scale if it is of this adapter: 0 for no stage, if that is one."""
        stage = recipe.last_stage
        if stage is None:
            return recipe, None if self.gene.index(0.0) is None else 0.0
        return replace(recipe, last_stage=None), stage.scale if stage.adapted == self.adapted else None

    def complete(self, recipe: WeightMerge) -> WeightMerge:
        """The recipe with the stage at its usual scale."""
        return self.put(recipe, self.usual)

    def plain(self, merges: MergeSpace) -> tuple[tuple[str, WeightMerge], ...]:
        """Plain merges and every model alone, with the adapter: it may be what makes the difference."""
        adapter = self.adapted.name
        alone = ((single.sources[0].name, single) for single in merges.singles())
        named = (*merges.plain_recipes(), *alone)
        return tuple((f"{name}, then {adapter}", self.put(recipe, self.usual)) for name, recipe in named)


@dataclass(frozen=True)
class _DrawnAsTasksSay:
    """A number of an image generator's drawing: where a recipe is compared with others, tasks say it."""

    gene: Gene

    @property
    def usual(self) -> float:
        """The highest: what costs most."""
        return self.gene.high

    @property
    def starts(self) -> Sequence[float]:
        """What costs most, and least: a front has both, and all that lies between."""
        return self.gene.high, self.gene.low

    def complete(self, recipe: WeightMerge) -> WeightMerge:
        """The recipe as it is."""
        return recipe

    def plain(self, merges: MergeSpace) -> tuple[tuple[str, WeightMerge], ...]:
        """The plain merges."""
        return merges.plain_recipes()


@dataclass(frozen=True)
class DrawingSteps(_DrawnAsTasksSay):
    """The number of steps in which an image generator draws."""

    @classmethod
    def between(cls, least: int, most: int) -> DrawingSteps:
        """All numbers from the least to the most."""
        return cls(Gene("steps", 0, None, float(least), float(most), 1.0))

    def put(self, recipe: WeightMerge, value: float) -> WeightMerge:
        """The recipe in a number of steps."""
        return replace(recipe, steps=round(value))

    def take(self, recipe: WeightMerge) -> tuple[WeightMerge, float | None]:
        """A recipe in as many steps as its tasks say, and its own number."""
        return replace(recipe, steps=None), None if recipe.steps is None else float(recipe.steps)


@dataclass(frozen=True)
class DrawingSize(_DrawnAsTasksSay):
    """The size in which an image generator draws. sizes: from the smallest to the largest; values are their places."""

    sizes: tuple[int, ...]

    @classmethod
    def among(cls, sizes: Sequence[int]) -> DrawingSize:
        """These sizes."""
        return cls(Gene("size", 0, None, 0.0, len(sizes) - 1.0, 1.0), tuple(sizes))

    @property
    def starts(self) -> Sequence[float]:
        """All of them, the largest first."""
        return [float(place) for place in reversed(range(len(self.sizes)))]

    def put(self, recipe: WeightMerge, value: float) -> WeightMerge:
        """The recipe in the size at a place."""
        return replace(recipe, size=self.sizes[round(value)])

    def take(self, recipe: WeightMerge) -> tuple[WeightMerge, float | None]:
        """A recipe in the sizes of its tasks, and the place of the size that is nearest to its own."""
        own = recipe.size
        if own is None:
            return recipe, None
        return replace(recipe, size=None), float(min(range(len(self.sizes)), key=lambda at: abs(self.sizes[at] - own)))


@dataclass(frozen=True)
class AppendedSpace:
    """The genes of a space of weight merges, then one for a number besides; without it if that is fixed."""

    merges: MergeSpace
    number: AppendedNumber

    @property
    def sources(self) -> tuple[ModelId, ...]:
        """The merged models."""
        return self.merges.sources

    @property
    def groups(self) -> Partition:
        """The partition of their tensors."""
        return self.merges.groups

    def alone(self, source: ModelId) -> WeightMerge:
        """The recipe that gives a source or the base back, without the number."""
        return self.merges.alone(source)

    def as_candidate(self, recipe: WeightMerge) -> WeightMerge:
        """The merge as the number completes it."""
        return self.number.complete(self.merges.as_candidate(recipe))

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """Number of values of each gene."""
        return (*self.merges.levels, *((self.number.gene.levels,) * self._is_searched))

    @property
    def choices(self) -> tuple[int, ...]:
        """The genes whose values have no order: those of the merges."""
        return self.merges.choices

    @property
    def switches(self) -> Mapping[int, int]:
        """The numbers that count only under a choice: those of the merges."""
        return self.merges.switches

    @property
    def size(self) -> int:
        """Number of genomes; the number of different recipes is smaller."""
        return prod(self.levels)

    def singles(self) -> tuple[WeightMerge, ...]:
        """Every source alone, then the base alone where the method reads one: without the number."""
        return self.merges.singles()

    def plain_recipes(self) -> tuple[tuple[str, WeightMerge], ...]:
        """Merges that anyone gets without a search."""
        return self.number.plain(self.merges)

    def seeds(self) -> tuple[Genome, ...]:
        """The seeds of the merges with the number's first values by turns, each with all of another's."""
        turns = (start for start in cycle(self.number.starts) for _ in range(self._inner_turns))
        return tuple(self._joined(genome, start) for genome, start in zip(self.merges.seeds(), turns, strict=False))

    @property
    def _turns(self) -> int:
        """Number of seeds after which their numbers come again."""
        return self._inner_turns * len(self.number.starts)

    @property
    def _inner_turns(self) -> int:
        return self.merges._turns if isinstance(self.merges, AppendedSpace) else 1

    def random_genomes(self, random: np.random.Generator) -> Iterator[Genome]:
        """Random genomes without end: the merges' own, and any value."""
        for genome in self.merges.random_genomes(random):
            drawn = random.integers(self.number.gene.levels, size=int(self._is_searched))
            yield (*genome, *map(int, drawn))

    def edited(self, genome: Sequence[float], random: np.random.Generator) -> Sequence[float]:
        """The genome with one choice of the merges changed."""
        return [*self.merges.edited(genome[: self._first], random), *genome[self._first :]]

    def repaired(self, genome: Sequence[int]) -> Genome:
        """The genome that means a recipe, as the merges repair it."""
        return (*self.merges.repaired(genome[: self._first]), *map(int, genome[self._first :]))

    def decode(self, genome: Sequence[int]) -> WeightMerge:
        """The recipe that a genome means. MergingError for one of wrong length, or with an index off its grid."""
        if len(genome) != len(self.levels):
            raise MergingError(f"genome: got {len(genome)} indices: this space has {len(self.levels)} genes")
        gene, index = self.number.gene, int(genome[-1]) if self._is_searched else 0
        if not 0 <= index < gene.levels:
            raise MergingError(f"genome: got {index} for {gene.parameter}: give 0 to {gene.levels - 1}")
        merge = self.merges.decode(genome[: self._first]).parts[0]
        return self.number.put(merge, gene.value(index))

    def encode(self, recipe: Recipe) -> Genome | None:
        """The genome of the merge, and the value nearest to the recipe's; the usual one where it has none."""
        if recipe.hops:
            return None
        merge, value = self.number.take(recipe.parts[0])
        genome = self.merges.encode(merge)
        return None if genome is None else self._joined(genome, self.number.usual if value is None else value)

    @property
    def _is_searched(self) -> bool:
        return self.number.gene.levels > 1

    @property
    def _first(self) -> int:
        """The number of the merges' genes."""
        return len(self.merges.levels)

    def _joined(self, genome: Genome, value: float) -> Genome:
        return (*genome, *((self.number.gene.nearest(value),) * self._is_searched))

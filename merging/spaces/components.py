"""The search space of weight merges in which some components are taken whole from one source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

from merging.errors import MergingError
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.space import Genome, MergeSpace
from merging.spaces.weight_merges import WeightMergeSpace

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class ComponentSpace:
    """The genes of a space of weight merges, then a gene without an order for each component whose source is open.

    merges: the space of what is merged, over `groups.merged`. groups: with some components taken whole. unlike: those
    of which the models have too different ones for anybody to merge.
    """

    merges: WeightMergeSpace
    groups: Partition
    unlike: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[ModelId, ...]:
        """The merged models."""
        return self.merges.sources

    def alone(self, source: ModelId) -> WeightMerge:
        """The recipe that gives a source or the base back, in all components."""
        return self.merges.alone(source)

    def as_candidate(self, recipe: WeightMerge) -> WeightMerge:
        """The merge: candidates have nothing besides."""
        return self.merges.as_candidate(recipe)

    @cached_property
    def models(self) -> tuple[ModelId, ...]:
        """The models that an open component may be taken from: those that have it, the carrier always."""
        singles = [single.sources[0] for single in self.merges.singles()]
        carrier = [self.merges.carrier] if self.merges.carrier else []
        return tuple(model for model in dict.fromkeys(singles + carrier) if model not in self.groups.lacking_models)

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """Number of values of each gene."""
        return (*self.merges.levels, *(len(self.models),) * len(self.groups.open))

    @property
    def choices(self) -> tuple[int, ...]:
        """The genes whose values have no order: those of open components."""
        first = len(self.merges.levels)
        return (*self.merges.choices, *range(first, first + len(self.groups.open)))

    @property
    def switches(self) -> Mapping[int, int]:
        """The numbers that count only under a choice: those of the merges."""
        return self.merges.switches

    @property
    def size(self) -> int:
        """Number of genomes; the number of different recipes is smaller."""
        return prod(self.levels)

    def singles(self) -> tuple[WeightMerge, ...]:
        """Every source alone, then the base alone where the method reads one: with all of their components."""
        return self.merges.singles()

    def plain_recipes(self) -> tuple[tuple[str, WeightMerge], ...]:
        """Merges that anyone gets without a search: of all components, but for those that are the carrier's then."""
        kept = dict.fromkeys(self.unlike, self.merges.carrier)
        plain = self.merges.plain_recipes()
        return tuple((name, replace(one, groups=one.groups.taking(kept))) for name, one in plain) if kept else plain

    def seeds(self) -> tuple[Genome, ...]:
        """The seeds of the merges: one that is a model alone with that model's components, others with each model's."""
        seeds: list[Genome] = []
        for genome in self.merges.seeds():
            recipe = self.merges.decode(genome)
            chosen = [self.models.index(self._own(recipe))] if recipe.is_single else range(len(self.models))
            seeds += [(*genome, *(choice,) * len(self.groups.open)) for choice in chosen]
        return tuple(dict.fromkeys(seeds))

    def random_genomes(self, random: np.random.Generator) -> Iterator[Genome]:
        """Random genomes without end: the merges' own, and any model for each open component."""
        for genome in self.merges.random_genomes(random):
            drawn = random.integers(len(self.models), size=len(self.groups.open))
            yield (*genome, *map(int, drawn))

    def edited(self, genome: Sequence[float], random: np.random.Generator) -> Sequence[float]:
        """The genome with one open component taken from another model."""
        found = list(genome)
        if self.groups.open and len(self.models) > 1:
            gene = len(self.merges.levels) + int(random.integers(len(self.groups.open)))
            found[gene] = (int(found[gene]) + int(random.integers(1, len(self.models)))) % len(self.models)
        return found

    def repaired(self, genome: Sequence[int]) -> Genome:
        """The genome as it is: here each one means a merge."""
        return tuple(map(int, genome))

    def decode(self, genome: Sequence[int]) -> WeightMerge:
        """The recipe that a genome means; that of one model in all components is the model's alone.

        MergingError for a genome of wrong length, or with an index off its grid.
        """
        first = len(self.merges.levels)
        recipe = self.merges.decode(genome[:first])
        chosen = genome[first:]
        if len(chosen) != len(self.groups.open):
            raise MergingError(f"genome: got {len(genome)} indices: this space has {len(self.levels)} genes")
        for name, index in zip(self.groups.open, chosen, strict=True):
            if not 0 <= index < len(self.models):
                raise MergingError(f"genome: got {index} for component {name}: give 0 to {len(self.models) - 1}")
        picked = {name: self.models[index] for name, index in zip(self.groups.open, chosen, strict=True)}
        whole = {name: source or picked[name] for name, source in self.groups.whole.items()}
        if recipe.is_single and set(whole.values()) <= {self._own(recipe)}:
            return recipe
        return replace(recipe, groups=recipe.groups.taking(whole))

    def encode(self, recipe: Recipe) -> Genome | None:
        """The genome of what is merged, as the merges encode it, then the models that open components are taken from.

        None where the merges have none, or where an open component is from a model that this space does not have.
        """
        if recipe.hops:
            return None
        (merge,) = recipe.parts
        genome = self.merges.encode(replace(merge, groups=merge.groups.merged))
        chosen = [merge.groups.whole.get(name, self._own(merge)) for name in self.groups.open]
        if genome is None or not all(source in self.models for source in chosen):
            return None
        return (*genome, *(self.models.index(source) for source in chosen if source is not None))

    def _own(self, recipe: WeightMerge) -> ModelId | None:
        """The model whose components a recipe has that names none: its first source, or the carrier of that one."""
        source = recipe.sources[0]
        return self.merges.carrier if source in self.groups.lacking_models else source


def merge_space(
    *,
    method: str,
    sources: Sequence[ModelId],
    base: ModelId | None,
    groups: Partition,
    dtype: str,
    seed: int,
    step: float = 0.05,
    vocabulary: tuple[ModelId, ...] = (),
    carrier: ModelId | None = None,
    unlike: Sequence[str] = (),
) -> MergeSpace:
    """The space of a method as `WeightMergeSpace.build` makes it, with the same errors.

    A component whose source is open may be taken from every source, from the carrier, or from the base where the
    method reads one. unlike: see `ComponentSpace`.
    """
    merges = WeightMergeSpace.build(
        method=method,
        sources=sources,
        base=base,
        groups=groups.merged,
        dtype=dtype,
        seed=seed,
        step=step,
        vocabulary=vocabulary,
        carrier=carrier,
    )
    return ComponentSpace(merges, groups, tuple(unlike)) if groups.whole else merges

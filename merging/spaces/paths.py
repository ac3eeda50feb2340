"""The search space of paths: all layers of the parts in order, several times over, each to be taken or skipped.

The form is the paper's (Akiba et al. 2024, arXiv 2403.13187): an inclusion gene for every slot of the layout, and a
positive scale for every hop. Genes of skipped slots mean nothing, so many genomes are one path.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from typing import Literal

import numpy as np

from merging.errors import MergingError
from merging.paths.edits import Step, Stop, insert_step, remove_step, switch_part
from merging.recipes.path import Hop, path_recipe
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.space import Genome
from merging.specs.genes import Gene

Ends = Literal["first", "free"]
"""The part that gives embedding and head. "first": the first one, whose first and last layer are the ends of every
path, as in the paper. "free": any part, by two genes (one where embedding and head are tied), and any layers."""

FARTHEST = 0.5
"""Largest distance of a scale from 1."""

EDITS = 6
"""Largest number of edits between a random path and a seed."""

ATTEMPTS = 20
"""Number of edits that are drawn at most until one gives a path of this space."""


@dataclass(frozen=True)
class PathSpace:
    """All paths through some parts; a genome has an index per gene.

    parts: sources alone or merges of their weights, all of one depth; the first gives the ends where these are fixed.
    repeats: number of times that all layers are laid out. least, most: bounds of a path's number of layers.
    scale: the grid of a hop's scale; None: all scales are 1. tied: one part gives embedding and head.

    Genes: embedding and head if they are free (one for both where they are tied), the slots' inclusion, the slots'
    scales, then the scales of the first and the last layer where these are fixed.
    """

    parts: tuple[WeightMerge, ...]
    repeats: int
    least: int
    most: int
    ends: Ends
    tied: bool
    scale: Gene | None

    @classmethod
    def build(
        cls,
        parts: Sequence[WeightMerge],
        *,
        tied: bool,
        repeats: int = 2,
        least: int | None = None,
        most: int | None = None,
        ends: Ends = "free",
        scales: bool = True,
        step: float = 0.05,
    ) -> PathSpace:
        """Build the space over some parts; MergingError names what is wrong.

        least, most: by default half as many layers as a part has, and half as many again.
        """
        depths = [part.groups.layers for part in parts]
        if len(parts) < 2 or len(set(depths)) != 1:
            raise MergingError(f"path: got parts of {', '.join(map(str, depths))} layers: at least two of one depth")
        least = least or max(1, math.ceil(depths[0] / 2))
        most = most or math.ceil(depths[0] * 1.5)
        if not least <= depths[0] <= most:
            raise MergingError(
                f"layers: got {least} to {most}: a source, which has {depths[0]}, must be among the paths"
            )
        if ends == "first" and most < 2:
            raise MergingError(f"layers: got at most {most}: paths between a first and a last layer have at least 2")
        reach = math.floor(FARTHEST / step + 1e-9) * step
        scale = Gene("scale", 0, 0, round(1 - reach, 9), round(1 + reach, 9), step) if scales else None
        return cls(tuple(parts), repeats, least, most, ends, tied, scale)

    @property
    def depth(self) -> int:
        """Number of layers of a part."""
        return self.parts[0].groups.layers

    @cached_property
    def slots(self) -> tuple[Step, ...]:
        """The layout: every layer of every part in order, `repeats` times."""
        once = [(part, layer) for part in range(len(self.parts)) for layer in range(self.depth)]
        return tuple(once * self.repeats)

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """Number of values of each gene."""
        scales = (self.scale.levels,) * self._scales if self.scale else ()
        return (len(self.parts),) * self._free_ends + (2,) * len(self.slots) + scales

    @cached_property
    def choices(self) -> tuple[int, ...]:
        """The genes whose values have no order."""
        return tuple(range(self._free_ends + len(self.slots)))

    @cached_property
    def switches(self) -> Mapping[int, int]:
        """Gene of a slot's scale → gene of its inclusion: the scale counts only where the slot is taken."""
        if self.scale is None:
            return {}
        first, slots = self._free_ends, len(self.slots)
        return {first + slots + slot: first + slot for slot in range(slots)}

    @property
    def size(self) -> int:
        """Number of genomes; the number of different paths is smaller."""
        return math.prod(self.levels)

    def singles(self) -> tuple[WeightMerge, ...]:
        """Every part alone."""
        return self.parts

    def plain_recipes(self) -> tuple[tuple[str, Recipe], ...]:
        """The baseline without a search: the first half of one part and the second half of the next."""
        half = [Hop(0 if layer < self.depth / 2 else 1, layer, 1.0) for layer in range(self.depth)]
        head = 0 if self.ends == "first" or self.tied else 1
        return (("halves stacked", path_recipe(self.parts, half, 0, head)),)

    def seeds(self) -> tuple[Genome, ...]:
        """Genomes to start from, all scales 1, as far as the space has them.

        Each part as it is; each part with its middle layer twice; and for every two parts, one with its middle layer
        from the other, and the first half of one with the second half of the other.
        """
        count, depth, middle = len(self.parts), self.depth, self.depth // 2
        own = [[(part, layer) for layer in range(depth)] for part in range(count)]
        wanted = [(steps, part, part) for part, steps in enumerate(own)]
        wanted += [([*steps[: middle + 1], *steps[middle:]], part, part) for part, steps in enumerate(own)]
        for one, other in permutations(range(count), 2):
            detour = [*own[one][:middle], own[other][middle], *own[one][middle + 1 :]]
            halves = [*own[one][:middle], *own[other][middle:]]
            wanted += [(detour, one, one), (halves, one, one if self.tied else other)]
        genomes = (self._genome(steps, embedding, head) for steps, embedding, head in wanted)
        return tuple(dict.fromkeys(genome for genome in genomes if genome is not None))

    def random_genomes(self, random: np.random.Generator) -> Iterator[Genome]:
        """Random genomes without end: a seed after some edits, half of them with some scales drawn at random."""
        seeds = self.seeds()
        while True:
            genome: list[float] = [*seeds[random.integers(len(seeds))]]
            for _ in range(random.integers(1, EDITS + 1)):
                genome = self.edited(genome, random)
            if self.scale and random.random() < 0.5:
                off = {gene for gene, choice in self.switches.items() if not genome[choice]}
                counting = [gene for gene in self._scale_genes if gene not in off]
                for gene in random.choice(counting, size=random.integers(1, len(counting) + 1), replace=False):
                    genome[gene] = int(random.integers(self.scale.levels))
            yield self.repaired(list(map(int, genome)))

    def edited(self, genome: Sequence[float], random: np.random.Generator) -> list[float]:
        """Return a genome whose path is one edit away: a step fewer, one more, one of another part, or another end.

        All are equally likely; a slot switched at random would nearly always add a step, because few are taken. Where
        the space has no such path nearby, the genome is returned unchanged. The steps keep their scales and are put
        into the earliest slots again, so that similar paths have similar genomes.
        """
        kind = int(random.integers(4 if self._free_ends else 3))
        for _ in range(ATTEMPTS):
            found = self._edit(genome, kind, random)
            if found is not None and found != list(genome):
                return found
        return list(genome)

    def repaired(self, genome: Sequence[int]) -> Genome:
        """Return the genome, with random slots switched if its path is too short or too long.

        The draw depends on the genome alone, so that a repeated search finds the same.
        """
        found = [int(index) for index in genome]
        included = found[self._inclusions]
        surplus = sum(included) + self._fixed - self.most
        lack = self.least - sum(included) - self._fixed
        if surplus > 0 or lack > 0:
            kind = 1 if surplus > 0 else 0
            candidates = [self._free_ends + slot for slot, index in enumerate(included) if index == kind]
            draw = np.random.default_rng(found)
            for place in draw.choice(candidates, size=max(surplus, lack), replace=False):
                found[place] = 1 - kind
        return tuple(found)

    def decode(self, genome: Sequence[int]) -> Recipe:
        """The path that a genome means, or a part where the path is that part unchanged.

        MergingError for a genome of wrong length, with an index off its grid, or of a path too short or too long.
        """
        self._check(genome)
        hops = self._hops([int(index) for index in genome])
        if not self.least <= len(hops) <= self.most:
            raise MergingError(f"path: got {len(hops)} layers: give {self.least} to {self.most}")
        free = self._free_ends
        embedding, head = (int(genome[0]), int(genome[free - 1])) if free else (0, 0)
        return path_recipe(self.parts, hops, embedding, head)

    def encode(self, recipe: Recipe) -> Genome | None:
        """The genome of a path through these parts, with its scales rounded to the grid; None if the layout has none.

        Steps are put into the earliest slots.
        """
        places = {part.digest: place for place, part in enumerate(self.parts)}
        # Dtype and vocabulary are this space's, whatever the recipe's were.
        dtype, vocabulary = self.parts[0].dtype, self.parts[0].vocabulary
        parts = [places.get(replace(part, dtype=dtype, vocabulary=vocabulary).digest) for part in recipe.parts]
        if None in parts:
            return None
        hops = recipe.hops or tuple(Hop(0, layer, 1.0) for layer in range(self.depth))
        stops = [((parts[hop.part] or 0, hop.layer), self._scale_index(hop.scale)) for hop in hops]
        ends = parts[recipe.embedding] or 0, parts[recipe.head] or 0
        if self.tied and len(set(ends)) > 1:
            return None
        fixed: list[float] = []
        if self._fixed:
            if set(ends) != {0} or [step for step, _ in (stops[0], stops[-1])] != [(0, 0), (0, self.depth - 1)]:
                return None
            fixed = [stops[0][1], stops[-1][1]] if self.scale else []
            stops = stops[1:-1]
        found = self._lay_out(ends[: self._free_ends], stops, fixed)
        return None if found is None else tuple(map(int, found))

    def _scale_index(self, scale: float) -> float:
        return self.scale.nearest(scale) if self.scale else self._one

    def _hops(self, genome: list[int]) -> list[Hop]:
        included, scales = genome[self._inclusions], self._scale_values(genome)
        hops = [
            Hop(part, layer, scale)
            for (part, layer), index, scale in zip(self.slots, included, scales, strict=False)
            if index
        ]
        if not self._fixed:
            return hops
        return [Hop(0, 0, scales[-2]), *hops, Hop(0, self.depth - 1, scales[-1])]

    def _scale_values(self, genome: list[int]) -> list[float]:
        if self.scale is None:
            return [1.0] * self._scales
        return [self.scale.value(index) for index in genome[self._free_ends + len(self.slots) :]]

    @property
    def _inclusions(self) -> slice:
        return slice(self._free_ends, self._free_ends + len(self.slots))

    @property
    def _free_ends(self) -> int:
        """Number of genes that choose the parts of the ends."""
        return 0 if self.ends == "first" else 1 if self.tied else 2

    @property
    def _fixed(self) -> int:
        """Number of layers that are on every path."""
        return 2 if self.ends == "first" else 0

    @property
    def _scales(self) -> int:
        return len(self.slots) + self._fixed

    @property
    def _scale_genes(self) -> range:
        return range(self._free_ends + len(self.slots), len(self.levels))

    @property
    def _one(self) -> float:
        """The index of scale 1 on the grid."""
        return self.scale.index(1.0) or 0 if self.scale else 0

    def _edit(self, genome: Sequence[float], kind: int, random: np.random.Generator) -> list[float] | None:
        """The genome after an edit of a kind; None if it is not in the space."""
        ends, stops = list(genome[: self._free_ends]), self._stops(genome)
        if kind == 0 and stops:
            stops = remove_step(stops, random)
        elif kind == 1:
            stops = insert_step(stops, len(self.parts), self.depth, self._one, random)
        elif kind == 2 and stops:
            stops = switch_part(stops, len(self.parts), random)
        elif kind == 3:
            ends[random.integers(len(ends))] = int(random.integers(len(self.parts)))
        return self._lay_out(ends, stops, genome[len(genome) - self._fixed :] if self.scale else ())

    def _stops(self, genome: Sequence[float]) -> list[Stop]:
        """The steps of a genome's taken slots, with their scales."""
        scales = genome[self._scale_genes.start :] if self.scale else [0] * len(self.slots)
        taken = zip(self.slots, genome[self._inclusions], scales, strict=False)
        return [(step, scale) for step, index, scale in taken if index]

    def _lay_out(self, ends: Sequence[float], stops: Sequence[Stop], fixed: Sequence[float]) -> list[float] | None:
        """The genome of these stops, each in the first slot it can have; None if it is not in the space.

        fixed: scales of the first and the last layer, where these are fixed; the stops are between them.
        """
        if not self.least <= len(stops) + self._fixed <= self.most:
            return None
        included, scales, slot = [0] * len(self.slots), [self._one] * len(self.slots), -1
        for step, scale in stops:
            slot = next((place for place in range(slot + 1, len(self.slots)) if self.slots[place] == step), -1)
            if slot < 0:
                return None
            included[slot], scales[slot] = 1, scale
        return [*ends, *included, *(scales if self.scale else ()), *fixed]

    def _genome(self, steps: Sequence[Step], embedding: int, head: int) -> Genome | None:
        """The genome of steps through the layout with all scales 1; None if it is not in the space.

        Where the ends are fixed, the first and last layer are, too, whichever part they are from.
        """
        inner = steps[1:-1] if self._fixed else steps
        fixed = [self._one] * self._fixed if self.scale else []
        found = self._lay_out((embedding, head)[: self._free_ends], [(step, self._one) for step in inner], fixed)
        return None if found is None else tuple(map(int, found))

    def _check(self, genome: Sequence[int]) -> None:
        if len(genome) != len(self.levels):
            raise MergingError(f"genome: got {len(genome)} indices: this space has {len(self.levels)} genes")
        for place, (index, levels) in enumerate(zip(genome, self.levels, strict=True)):
            if not 0 <= index < levels:
                raise MergingError(f"genome: got {index} for gene {place}: give 0 to {levels - 1}")

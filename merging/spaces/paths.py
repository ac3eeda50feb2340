"""The search space of paths: the parts' layers laid out in order, several times over, each to be taken or passed by.

The form is the paper's (Akiba et al. 2024, arXiv 2403.13187): an inclusion gene for every slot of the layout, and a
positive scale for every hop. Genes of slots that are passed by mean nothing, so many genomes are one path.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import Literal

import numpy as np

from merging.errors import MergingError
from merging.paths.edits import Step, Stop, longer, shorter, switched
from merging.recipes.path import Hop, Recipe, path_recipe
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.genes import Gene
from merging.spaces.space import Genome

Ends = Literal["first", "free"]
"""Where embedding and head come from: as in the paper the first part, with its first and last layer at the ends of
every path; or any part, by two genes (by one where they are tied), and any layers."""

FARTHEST = 0.5
"""How far a scale may be from 1."""

EDITS = 6
"""A random path is at most so many edits away from a known one."""

ATTEMPTS = 20
"""Edits that are drawn until one is a path of this space."""


@dataclass(frozen=True)
class PathSpace:
    """All paths through some parts; a genome has an index per gene.

    parts: sources alone or merges of their weights, all of one depth; the first gives the ends where these are fixed.
    repeats: how often all layers are laid out. least, most: layers of a path.
    scale: the grid of a hop's scale; None to have all of them 1. tied: one part gives embedding and head.

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
        """The space over some parts; MergingError names what cannot be.

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
        """Layers of a part."""
        return self.parts[0].groups.layers

    @cached_property
    def slots(self) -> tuple[Step, ...]:
        """The layout: every layer of every part in order, as often as it is repeated."""
        once = [(part, layer) for part in range(len(self.parts)) for layer in range(self.depth)]
        return tuple(once * self.repeats)

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """How many values each gene has."""
        scales = (self.scale.levels,) * self._scales if self.scale else ()
        return (len(self.parts),) * self._free_ends + (2,) * len(self.slots) + scales

    @cached_property
    def choices(self) -> tuple[int, ...]:
        """The genes whose values have no order."""
        return tuple(range(self._free_ends + len(self.slots)))

    @cached_property
    def switches(self) -> Mapping[int, int]:
        """A slot's scale means something only where the slot is taken: gene of the scale → gene of the inclusion."""
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
        """What anyone gets without a search: the first half of one part and the second half of the next."""
        half = [Hop(0 if layer < self.depth / 2 else 1, layer, 1.0) for layer in range(self.depth)]
        head = 0 if self.ends == "first" or self.tied else 1
        return (("halves stacked", path_recipe(self.parts, half, 0, head)),)

    def seeds(self) -> tuple[Genome, ...]:
        """Genomes to start from, all scales 1, as far as the space has them.

        Each part's own pass; a layer in the middle taken twice; and, for each two parts, a detour of one layer into
        the other, and the way through the first half of one and the second half of the other.
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
        """Random genomes without end: a seed after some edits, and, of every other one, some of its scales drawn."""
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
        """A genome whose path is one edit away: a step fewer, one more, one of another part, or another end.

        All are equally likely: a slot switched at random would nearly always add a step, for few are taken. Where the
        space has no such path nearby, the genome stays as it is. The steps keep their scales and are laid out anew, as
        early as may be, so that paths that are alike have genomes that are alike.
        """
        kind = int(random.integers(4 if self._free_ends else 3))
        for _ in range(ATTEMPTS):
            found = self._edit(genome, kind, random)
            if found is not None and found != list(genome):
                return found
        return list(genome)

    def repaired(self, genome: Sequence[int]) -> Genome:
        """The genome itself if its path is neither too short nor too long; else with random slots switched.

        The draw depends on the genome alone, so that a search done again takes the same way.
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
        """The path that a genome means; the part itself where it is a part's own pass.

        MergingError for a genome of wrong length, with an index off its grid, or of a path too short or too long.
        """
        self._check(genome)
        hops = self._hops([int(index) for index in genome])
        if not self.least <= len(hops) <= self.most:
            raise MergingError(f"path: got {len(hops)} layers: give {self.least} to {self.most}")
        free = self._free_ends
        embedding, head = (int(genome[0]), int(genome[free - 1])) if free else (0, 0)
        return path_recipe(self.parts, hops, embedding, head)

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
        """Number of genes that say where the ends come from."""
        return 0 if self.ends == "first" else 1 if self.tied else 2

    @property
    def _fixed(self) -> int:
        """Number of layers that every path has."""
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
        """The genome after an edit of a kind; None if the space does not have it."""
        ends, way = list(genome[: self._free_ends]), self._way(genome)
        if kind == 0 and way:
            way = shorter(way, random)
        elif kind == 1:
            way = longer(way, len(self.parts), self.depth, self._one, random)
        elif kind == 2 and way:
            way = switched(way, len(self.parts), random)
        elif kind == 3:
            ends[random.integers(len(ends))] = int(random.integers(len(self.parts)))
        return self._laid_out(ends, way, genome[len(genome) - self._fixed :] if self.scale else ())

    def _way(self, genome: Sequence[float]) -> list[Stop]:
        """The steps of a genome's slots, with their scales as they are there."""
        scales = genome[self._scale_genes.start :] if self.scale else [0] * len(self.slots)
        taken = zip(self.slots, genome[self._inclusions], scales, strict=False)
        return [(step, scale) for step, index, scale in taken if index]

    def _laid_out(self, ends: Sequence[float], way: Sequence[Stop], fixed: Sequence[float]) -> list[float] | None:
        """The genome of a way, each step in the first slot that it can have; None if the space does not have it.

        fixed: scales of the first and the last layer, where these are fixed; the way is what lies between.
        """
        if not self.least <= len(way) + self._fixed <= self.most:
            return None
        included, scales, slot = [0] * len(self.slots), [self._one] * len(self.slots), -1
        for step, scale in way:
            slot = next((place for place in range(slot + 1, len(self.slots)) if self.slots[place] == step), -1)
            if slot < 0:
                return None
            included[slot], scales[slot] = 1, scale
        return [*ends, *included, *(scales if self.scale else ()), *fixed]

    def _genome(self, steps: Sequence[Step], embedding: int, head: int) -> Genome | None:
        """The genome of a way through the layout with all scales 1; None if the space does not have it.

        Where the ends are fixed, so are the way's first and last layer, whatever part they are of.
        """
        inner = steps[1:-1] if self._fixed else steps
        fixed = [self._one] * self._fixed if self.scale else []
        found = self._laid_out((embedding, head)[: self._free_ends], [(step, self._one) for step in inner], fixed)
        return None if found is None else tuple(map(int, found))

    def _check(self, genome: Sequence[int]) -> None:
        if len(genome) != len(self.levels):
            raise MergingError(f"genome: got {len(genome)} indices: this space has {len(self.levels)} genes")
        for place, (index, levels) in enumerate(zip(genome, self.levels, strict=True)):
            if not 0 <= index < levels:
                raise MergingError(f"genome: got {index} for gene {place}: give 0 to {levels - 1}")

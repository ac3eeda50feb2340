"""The search space of paths: the parts' layers laid out in order, several times over, each to be taken or passed by.

The form is the paper's (Akiba et al. 2024, arXiv 2403.13187): an inclusion gene for every slot of the layout, and a
positive scale for every hop. Genes of slots that are passed by mean nothing, so many genomes are one path.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import Literal

import numpy as np

from merging.dataflow.path import AnyRecipe, Hop, path_recipe
from merging.errors import MergingError
from merging.genes import Gene
from merging.recipe import Recipe
from merging.space import Genome

Ends = Literal["first", "free"]
"""Where embedding and head come from: as in the paper the first part, with its first and last layer at the ends of
every path; or any part, by two genes (by one where they are tied), and any layers."""

Step = tuple[int, int]
"""A part, and the number of a layer in it."""

FARTHEST = 0.5
"""How far a scale may be from 1."""

EDITS = 6
"""A random path has at most so many slots changed from a known one."""


@dataclass(frozen=True)
class PathSpace:
    """All paths through some parts; a genome has an index per gene.

    parts: sources alone or merges of their weights, all of one depth; the first gives the ends where these are fixed.
    repeats: how often all layers are laid out. least, most: layers of a path.
    scale: the grid of a hop's scale; None to have all of them 1. tied: one part gives embedding and head.

    Genes: embedding and head if they are free (one for both where they are tied), the slots' inclusion, the slots'
    scales, then the scales of the first and the last layer where these are fixed.
    """

    parts: tuple[Recipe, ...]
    repeats: int
    least: int
    most: int
    ends: Ends
    tied: bool
    scale: Gene | None

    @classmethod
    def build(
        cls,
        parts: Sequence[Recipe],
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

    @property
    def size(self) -> int:
        """Number of genomes; the number of different paths is smaller."""
        return math.prod(self.levels)

    def singles(self) -> tuple[Recipe, ...]:
        """Every part alone."""
        return self.parts

    def plain_recipes(self) -> tuple[tuple[str, AnyRecipe], ...]:
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

    def strangers(self, random: np.random.Generator) -> Iterator[Genome]:
        """Random genomes without end: a seed with some slots and ends changed, and scales drawn for all hops."""
        seeds, free, slots = self.seeds(), self._free_ends, len(self.slots)
        while True:
            genome = list(seeds[random.integers(len(seeds))])
            for slot in random.integers(slots, size=random.integers(1, EDITS + 1)):
                genome[free + slot] ^= 1
            for end in range(free):
                genome[end] = int(random.integers(len(self.parts)))
            if self.scale and random.random() < 0.5:
                genome[free + slots :] = map(int, random.integers(self.scale.levels, size=self._scales))
            yield self.repaired(genome)

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

    def decode(self, genome: Sequence[int]) -> AnyRecipe:
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

    def _genome(self, steps: Sequence[Step], embedding: int, head: int) -> Genome | None:
        """The genome of a way through the layout with all scales 1; None if the space does not have it.

        Where the ends are fixed, so are the way's first and last layer, whatever part they are of.
        """
        if not self.least <= len(steps) <= self.most:
            return None
        inner = steps[1:-1] if self._fixed else steps
        included, slot = [0] * len(self.slots), -1
        for step in inner:
            slot = next((place for place in range(slot + 1, len(self.slots)) if self.slots[place] == step), -1)
            if slot < 0:
                return None
            included[slot] = 1
        ends = (embedding, head)[: self._free_ends]
        ones = (self.scale.index(1.0) or 0,) * self._scales if self.scale else ()
        return (*ends, *included, *ones)

    def _check(self, genome: Sequence[int]) -> None:
        if len(genome) != len(self.levels):
            raise MergingError(f"genome: got {len(genome)} indices: this space has {len(self.levels)} genes")
        for place, (index, levels) in enumerate(zip(genome, self.levels, strict=True)):
            if not 0 <= index < levels:
                raise MergingError(f"genome: got {index} for gene {place}: give 0 to {levels - 1}")

"""The part of a first population that earlier recipes have."""

from __future__ import annotations

from collections.abc import Sequence

from merging.recipes.recipe import Recipe
from merging.spaces.space import Genome, SearchSpace

CARRIED_SHARE = 0.5
"""Most of a first population that earlier recipes may have: the rest is what a search without them begins with."""


def carried_genomes(space: SearchSpace, recipes: Sequence[Recipe], population: int) -> tuple[Genome, ...]:
    """The genomes of earlier recipes for a first population, the most important recipes first.

    Each merge is taken once, and none that is among the space's seeds; recipes that the space cannot say are left out.
    """
    found: dict[str, Genome] = {}
    seeds = {space.decode(genome).digest for genome in space.seeds()[:population]}
    for recipe in recipes:
        genome = space.encode(recipe)
        if genome is not None and (digest := space.decode(genome).digest) not in seeds:
            found.setdefault(digest, genome)
    return tuple(found.values())[: int(population * CARRIED_SHARE)]

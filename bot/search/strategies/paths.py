"""The search among paths through the layers of the sources."""

from __future__ import annotations

from dataclasses import dataclass

from bot.hub.pool.pool import Pool
from bot.search.job import SearchJob
from bot.search.selection import SMALLEST
from bot.search.strategies.memory import copied_bytes, deepest_path_bytes, held_bytes
from bot.search.strategies.strategy import AS_TASKS_DRAW, CostObjective, PathLayout, SearchedDrawing
from merging.evolution.outcomes import SearchResult
from merging.identity import ModelId
from merging.recipes.recipe import Recipe
from merging.spaces.paths import PathSpace
from merging.spaces.space import MergeSpace, SearchSpace


@dataclass(frozen=True)
class PathSearch:
    """One stage; the sources are used as they are."""

    weight_merges: MergeSpace
    layout: PathLayout

    @property
    def paths(self) -> PathSpace:
        """The paths through the sources."""
        return self.layout.source_space(self.weight_merges)

    @property
    def first_space(self) -> SearchSpace:
        """The paths."""
        return self.paths

    @property
    def cost(self) -> CostObjective | None:
        """The layers relative to a source's, if the watchlist asks for fewer."""
        layers = self.weight_merges.groups.layers
        smaller = self.layout.dataflow.smaller
        return CostObjective(lambda recipe: recipe.depth / layers, SMALLEST) if smaller else None

    @property
    def drawing(self) -> SearchedDrawing:
        """Nothing: no image generator is a path."""
        return AS_TASKS_DRAW

    @property
    def staged(self) -> bool:
        """There is one stage."""
        return False

    @property
    def left_out(self) -> tuple[ModelId, ...]:
        """Sources whose layers are not laid out."""
        return self.weight_merges.sources[self.layout.dataflow.models :]

    @property
    def size(self) -> int:
        """Number of genomes."""
        return self.paths.size

    @property
    def gene_count(self) -> int:
        """Number of genes."""
        return len(self.paths.levels)

    @property
    def most_layers(self) -> int:
        """Layers of the deepest path."""
        return self.paths.most

    def plain_recipes(self) -> tuple[tuple[str, Recipe], ...]:
        """Plain merges of the sources, and plain paths through them."""
        return (*self.weight_merges.plain_recipes(), *self.paths.plain_recipes())

    def largest_bytes(self, pool: Pool, dtype: str) -> int:
        """Bytes of the deepest path."""
        return deepest_path_bytes(pool, self.most_layers, dtype)

    def candidate_bytes(self, pool: Pool, dtype: str, device: str) -> int:
        """The live model for the baselines that are weight merges, what the deepest path copies, and the sources that
        cannot stay mapped.
        """
        held = held_bytes(pool, pool.sources[: self.layout.dataflow.models], dtype, device)
        return pool.model_bytes(dtype) + self.path_bytes(pool, dtype) + held

    def path_bytes(self, pool: Pool, dtype: str) -> int:
        """Bytes of the weights that the deepest path does not share with the models that it runs through."""
        return copied_bytes(pool, self.most_layers, dtype) if self.layout.dataflow.scales else 0

    def run(self, job: SearchJob) -> SearchResult:
        """Search with the whole budget."""
        return job.evolve(self.paths, job.settings, cost=self.cost.of if self.cost else None)

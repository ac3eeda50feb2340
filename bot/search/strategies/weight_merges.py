"""The search among merges of weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bot.hub.pool.pool import Pool
from bot.search.job import SearchJob
from bot.search.selection import FASTEST
from bot.search.strategies.memory import spare_bytes
from bot.search.strategies.strategy import AS_TASKS_DRAW, CostObjective, SearchedDrawing
from merging.evolution.outcomes import SearchResult
from merging.identity import ModelId
from merging.recipes.recipe import Recipe
from merging.spaces.space import MergeSpace, SearchSpace


@dataclass(frozen=True)
class WeightMergeSearch:
    """One stage; every candidate has the sources' own layers."""

    weight_merges: MergeSpace
    drawing: SearchedDrawing = AS_TASKS_DRAW

    @property
    def first_space(self) -> SearchSpace:
        """The only space."""
        return self.weight_merges

    @property
    def cost(self) -> CostObjective | None:
        """Steps × pixels of a picture relative to the most of both, as far as they are searched."""
        if self.drawing == AS_TASKS_DRAW:
            return None
        most, largest = (max(values, default=1) for values in (self.drawing.steps, self.drawing.sizes))
        return CostObjective(
            lambda recipe: (recipe.steps or most) / most * ((recipe.size or largest) / largest) ** 2, FASTEST
        )

    @property
    def staged(self) -> bool:
        """There is one stage."""
        return False

    @property
    def left_out(self) -> tuple[ModelId, ...]:
        """No layers are laid out."""
        return ()

    @property
    def size(self) -> int:
        """Number of genomes."""
        return self.weight_merges.size

    @property
    def gene_count(self) -> int:
        """Number of genes."""
        return len(self.weight_merges.levels)

    @property
    def most_layers(self) -> int:
        """Layers of a source."""
        return self.weight_merges.groups.layers

    def plain_recipes(self) -> tuple[tuple[str, Recipe], ...]:
        """Plain merges of the sources."""
        return self.weight_merges.plain_recipes()

    def largest_bytes(self, pool: Pool, dtype: str) -> int:
        """Bytes of one model."""
        return pool.model_bytes(dtype)

    def candidate_bytes(self, pool: Pool, dtype: str, device: str) -> int:  # noqa: ARG002 - sums are done on the CPU
        """Bytes of the live model, which becomes one candidate after another, and of components kept beside it."""
        return pool.model_bytes(dtype) + spare_bytes(pool, self.weight_merges.groups.open, dtype)

    def run(self, job: SearchJob) -> SearchResult:
        """Search with the whole budget. Of what is known, merges count that have steps and a size, or have none, as
        those searched do."""
        job = replace(job, known=tuple(one for one in job.known if self._is_like(one.recipe)))
        return job.evolve(self.weight_merges, job.settings, cost=self.cost.of if self.cost else None)

    def _is_like(self, recipe: Recipe) -> bool:
        own, searched = (recipe.steps, recipe.size), (self.drawing.steps, self.drawing.sizes)
        return [one is not None for one in own] == list(map(bool, searched))

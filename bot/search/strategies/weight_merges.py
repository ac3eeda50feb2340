"""The search among merges of weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bot.hub.pool.pool import Pool
from bot.search.job import SearchJob
from bot.search.selection import FASTEST
from bot.search.strategies.memory import spare_bytes
from bot.search.strategies.strategy import CostObjective
from merging.evolution.outcomes import SearchResult
from merging.identity import ModelId
from merging.recipes.recipe import Recipe
from merging.spaces.space import MergeSpace, SearchSpace


@dataclass(frozen=True)
class WeightMergeSearch:
    """One stage; every candidate has the sources' own layers. most_steps: in which image generators draw, where fewer
    are an objective."""

    weight_merges: MergeSpace
    most_steps: int | None = None

    @property
    def first_space(self) -> SearchSpace:
        """The only space."""
        return self.weight_merges

    @property
    def cost(self) -> CostObjective | None:
        """The steps of a picture relative to the most, if they are searched; pictures are as large as tasks say."""
        most = self.most_steps
        return CostObjective(lambda recipe: (recipe.steps or most) / most, FASTEST) if most else None

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
        """Search with the whole budget. Of what is known, merges count that have a number of steps, or have none, as
        those searched do."""
        known = tuple(one for one in job.known if (one.recipe.steps is None) == (self.most_steps is None))
        job = replace(job, known=known)
        return job.evolve(self.weight_merges, job.settings, cost=self.cost.of if self.cost else None)

"""The protocol of search strategies, and the layout of layers that two of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bot.hub.pool.pool import Pool
from bot.search.job import Cost, SearchJob
from bot.watchlist.sections import DataflowSection
from merging.evolution.outcomes import SearchResult
from merging.identity import ModelId
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.paths import PathSpace
from merging.spaces.space import MergeSpace, SearchSpace


@dataclass(frozen=True)
class CostObjective:
    """What recipes cost, where less is an objective. role: of the release that costs least."""

    of: Cost
    role: str


@dataclass(frozen=True)
class SearchedDrawing:
    """What is searched of the drawing of image generators; empty for what tasks say.

    steps: fewest and most. sizes: from small to large.
    """

    steps: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()


AS_TASKS_DRAW = SearchedDrawing()


class SearchStrategy(Protocol):
    """A way to search over a pool: one space, or several in order."""

    @property
    def weight_merges(self) -> MergeSpace:
        """Merges of the sources' weights. Every strategy has them: sources, base and plain merges are baselines."""

    @property
    def first_space(self) -> SearchSpace:
        """The space that the search begins with."""

    @property
    def cost(self) -> CostObjective | None:
        """What less of is an objective besides the skills; None for nothing."""

    @property
    def drawing(self) -> SearchedDrawing:
        """What is searched of the drawing of image generators."""

    @property
    def staged(self) -> bool:
        """Whether scores on the validation split choose what a later stage searches."""

    @property
    def left_out(self) -> tuple[ModelId, ...]:
        """Sources whose layers are not laid out, because the watchlist asks for fewer models."""

    @property
    def size(self) -> int:
        """Number of genomes in all stages together, at most."""

    @property
    def gene_count(self) -> int:
        """Number of genes in the stage that has most of them, at most."""

    @property
    def most_layers(self) -> int:
        """Layers of the deepest candidate."""

    def plain_recipes(self) -> tuple[tuple[str, Recipe], ...]:
        """Named merges that anyone gets without a search."""

    def largest_bytes(self, pool: Pool, dtype: str) -> int:
        """Bytes of the weights of the deepest candidate."""

    def candidate_bytes(self, pool: Pool, dtype: str, device: str) -> int:
        """Bytes that a worker needs for the weights of its candidates, at most."""

    def run(self, job: SearchJob) -> SearchResult:
        """Search."""


@dataclass(frozen=True)
class PathLayout:
    """The layout of models' layers for paths through them.

    tied: each model's embedding is its head. step: grid of the scales.
    """

    dataflow: DataflowSection
    tied: bool
    step: float

    def space(self, models: Sequence[WeightMerge]) -> PathSpace:
        """The paths through some models; MergingError if there are none of the depths asked for."""
        asked = self.dataflow
        return PathSpace.build(
            models,
            tied=self.tied,
            repeats=asked.repeats,
            least=asked.min_layers,
            most=asked.max_layers,
            ends=asked.ends,
            scales=asked.scales,
            step=self.step,
        )

    def source_space(self, weight_merges: MergeSpace) -> PathSpace:
        """The paths through the sources as they are, through as many of them as are asked for."""
        return self.space([weight_merges.alone(source) for source in weight_merges.sources[: self.dataflow.models]])

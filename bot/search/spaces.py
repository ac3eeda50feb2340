"""Where a watchlist's merges are looked for: among mixtures of weights, among paths through layers, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.errors import ShoalError
from bot.hub.pool import Pool
from bot.watchlist.sections import DataflowSection, SpaceKind
from bot.watchlist.watchlist import Watchlist
from merging.errors import MergingError
from merging.paths.cost import cost
from merging.paths.layout import check_rearrangeable
from merging.recipes.path import Recipe
from merging.recipes.weight_merge import ModelId, Partition, WeightMerge
from merging.spaces.paths import PathSpace
from merging.spaces.weight_merges import WeightMergeSpace

AS_USUAL = DataflowSection()

_STORED_AS = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
"""A dtype's name in the headers of files."""


@dataclass(frozen=True)
class Spaces:
    """weights: the space of mixtures, whose sources, base and plain merges serve every kind of search.

    dataflow: how layers are laid out, where they are. tied: the models' embeddings are their heads. step: grid of the
    scales.
    """

    weights: WeightMergeSpace
    kind: SpaceKind = "parameter"
    dataflow: DataflowSection = AS_USUAL
    tied: bool = False
    step: float = 0.05

    def paths(self, parts: Sequence[WeightMerge]) -> PathSpace:
        """The paths through some parts."""
        asked = self.dataflow
        return PathSpace.build(
            parts,
            tied=self.tied,
            repeats=asked.repeats,
            least=asked.min_layers,
            most=asked.max_layers,
            ends=asked.ends,
            scales=asked.scales,
            step=self.step,
        )

    def over_sources(self) -> PathSpace | None:
        """The paths through the sources as they are; None where no layers are laid out."""
        if self.kind == "parameter":
            return None
        return self.paths([self.weights.alone(source) for source in self.weights.sources[: self.dataflow.models]])

    def plain_recipes(self) -> tuple[tuple[str, Recipe], ...]:
        """Named merges of each kind that anyone gets without a search."""
        paths = self.over_sources()
        return (*self.weights.plain_recipes(), *(paths.plain_recipes() if paths else ()))

    @property
    def smaller(self) -> bool:
        """Whether fewer layers are an objective beside the skills."""
        return self.dataflow.smaller and self.kind != "parameter"

    @property
    def left_out(self) -> tuple[ModelId, ...]:
        """Sources whose layers are not laid out, for there are more of them than models are asked for."""
        return self.weights.sources[self.dataflow.models :] if self.kind == "dataflow" else ()

    def widest(self) -> PathSpace | None:
        """The paths through as many parts as may be laid out: in two stages these are not known beforehand."""
        if self.kind != "both":
            return self.over_sources()
        return self.paths([self.weights.alone(self.weights.sources[0])] * self.dataflow.models)

    @property
    def size(self) -> int:
        """Number of genomes, in all stages together, at most."""
        paths = self.widest()
        return (self.weights.size if self.kind != "dataflow" else 0) + (paths.size if paths else 0)

    @property
    def genes(self) -> int:
        """Number of genes of the largest stage, at most."""
        paths = self.widest()
        return max(len(self.weights.levels) if self.kind != "dataflow" else 0, len(paths.levels) if paths else 0)

    @property
    def most_layers(self) -> int:
        """Of the deepest candidate."""
        paths = self.over_sources()
        return paths.most if paths else self.weights.groups.layers


def depth(recipe: Recipe) -> int:
    """Layers of a recipe's model."""
    return recipe.groups.layers if isinstance(recipe, WeightMerge) else len(recipe.hops)


def largest_bytes(spaces: Spaces, pool: Pool, dtype: str) -> int:
    """Bytes of the weights of the deepest candidate: layers grow in number, embeddings and head do not."""
    model = pool.model_bytes(dtype)
    if spaces.kind == "parameter":
        return model
    source = pool.sources[0]
    shapes = {name: header.shape for name, header in source.headers.items()}
    # All layers are of one make, so any of them will do.
    layers = (number % pool.layers for number in range(spaces.most_layers))
    return cost(shapes, source.settings, layers).parameters * model // pool.parameters


def candidate_bytes(spaces: Spaces, pool: Pool, dtype: str, device: str) -> int:
    """Bytes that a worker needs for its candidates' weights, at most.

    The deepest path counts whole, though it only refers to weights that are there: what it has of its own is hard to
    foretell, and beside it stands the model that becomes mixtures. Parts of paths are held, too, but for sources on
    the CPU that are stored in this very dtype: these stay mapped.
    """
    model = pool.model_bytes(dtype)
    if spaces.kind == "parameter":
        return model
    laid_out = pool.sources[: spaces.dataflow.models if spaces.kind == "dataflow" else 2]  # two for the plain path
    held = sum(device != "cpu" or _STORED_AS[dtype] != source.dtype for source in laid_out)
    weight_merges = spaces.dataflow.models if spaces.kind == "both" else 0
    return model + largest_bytes(spaces, pool, dtype) + model * (held + weight_merges)


def make_spaces(watchlist: Watchlist, pool: Pool) -> Spaces:
    """The spaces that a watchlist asks for over a pool; an error says where the pool does not fit them."""
    search = watchlist.search
    first = pool.sources[0]
    weights = _weights(watchlist, pool)
    if search.space == "parameter":
        return Spaces(weights)
    shapes = {name: header.shape for name, header in first.headers.items()}
    check_rearrangeable(first.settings, shapes, pool.layers, first.repo)
    spaces = Spaces(
        weights, search.space, search.dataflow, bool(first.settings.get("tie_word_embeddings")), search.step
    )
    try:
        spaces.over_sources()
    except MergingError as error:
        raise ShoalError(f"search.dataflow: {error}") from error
    return spaces


def _weights(watchlist: Watchlist, pool: Pool) -> WeightMergeSpace:
    search = watchlist.search
    return WeightMergeSpace.build(
        # Paths alone need no method: the plain merges beside them are averages.
        method="linear" if search.space == "dataflow" else search.method,
        sources=[source.ref for source in pool.sources],
        base=pool.base.ref if pool.base else None,
        groups=Partition.even(
            pool.layers,
            search.groups.layers,
            modules_apart=search.groups.modules == "apart",
            ends_apart=search.groups.ends == "apart",
        ),
        dtype=search.dtype,
        seed=search.seed,
        step=search.step,
    )

"""The search space of weight merges: grids of genes, and the recipe that each genome means.

Different genomes may mean one and the same merge, so decoding is canonical: equal merges become one recipe
with one digest wherever that follows from the values alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from math import prod
from typing import TYPE_CHECKING

from merging.errors import MergingError
from merging.identity import ModelId
from merging.methods import METHODS, searched_methods
from merging.partition import Partition
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.space import Genome
from merging.specs.genes import Gene, genes_of
from merging.specs.method import Method
from merging.specs.search import Grid, Meaning, Point, Rows, SearchForm

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class WeightMergeSpace:
    """All merges of some sources by one method; a genome has one grid index per gene.

    genes: ordered by parameter name, then source, then group.
    seed: seed of random draws, the same for every candidate, so that genes alone make the difference.
    vocabulary: the models that decide on the vocabulary of every merge; empty where all models have the same.
    carrier: the carrier of every merge, if there is one.
    """

    method: str
    sources: tuple[ModelId, ...]
    base: ModelId | None
    groups: Partition
    dtype: str
    seed: int
    genes: tuple[Gene, ...]
    vocabulary: tuple[ModelId, ...] = ()
    carrier: ModelId | None = None

    @classmethod
    def build(
        cls,
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
    ) -> WeightMergeSpace:
        """The space of a method with its usual ranges; MergingError names what cannot be searched.

        base is left out by methods that read none. step must divide 1, so that a source alone (weight 1) is
        on the grid.
        """
        searched = ", ".join(searched_methods())
        if method not in METHODS:
            raise MergingError(f"method: got {method!r}: use one of {searched}")
        if METHODS[method].search is None:
            raise MergingError(f"method: got {method!r}: {METHODS[method].unsearched}: use one of {searched}")
        genes = genes_of(METHODS[method], len(sources), len(groups.labels), step)
        base = base if METHODS[method].reads_base else None
        space = cls(method, tuple(sources), base, groups, dtype, seed, genes, vocabulary, carrier)
        space.plain_recipes()  # a recipe checks its sources, base and dtype when it is made: refuse them now
        return space

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """Number of values of each gene."""
        return tuple(gene.levels for gene in self.genes)

    @property
    def choices(self) -> tuple[int, ...]:
        """The genes whose values have no order: none."""
        return ()

    @property
    def switches(self) -> Mapping[int, int]:
        """The numbers that count only under a choice: none."""
        return {}

    @property
    def size(self) -> int:
        """Number of genomes; the number of different recipes is smaller."""
        return prod(self.levels)

    def alone(self, source: ModelId) -> WeightMerge:
        """The recipe that gives a source (or the base) back: the only one this space ever makes for it."""
        return WeightMerge.single(source, self._whole, self.dtype, self.vocabulary, self.carrier)

    def as_candidate(self, recipe: WeightMerge) -> WeightMerge:
        """The merge: candidates have nothing besides."""
        return recipe

    def singles(self) -> tuple[WeightMerge, ...]:
        """Every source alone, then the base alone where the method reads one."""
        models = self.sources if self.base is None else (*self.sources, self.base)
        return tuple(map(self.alone, models))

    def plain_recipes(self) -> tuple[tuple[str, WeightMerge], ...]:
        """Named merges that anyone gets without a search: the baselines that a search has to beat.

        Always "linear mean"; where the method is another, its customary settings too. They need not be on
        the grid.
        """
        names = dict.fromkeys(("linear", self.method))
        return tuple((METHODS[name].customary.name, self._customary(METHODS[name])) for name in names)

    def seeds(self) -> tuple[Genome, ...]:
        """Genomes to start from, as far as the grid has them: sources alone, the base alone, plain merges."""
        customary = {name: [value] * len(self.sources) for name, value in METHODS[self.method].customary.values.items()}
        wanted = [*self._form.extremes(self._grid), *self._form.plain(customary, self._grid)]
        genomes = dict.fromkeys(genome for point in wanted if (genome := self._constant(point)) is not None)
        return tuple(genomes)

    def random_genomes(self, random: np.random.Generator) -> Iterator[Genome]:
        """Random genomes without end.

        Every other one has one value per parameter and source for all groups: independent values of many groups all
        but average out, and merges of one strong source would never be drawn.
        """
        runs = [[gene.levels for gene in genes] for _, genes in groupby(self.genes, _by_source)]
        while True:
            shared = random.integers([levels[0] for levels in runs])
            yield tuple(int(index) for index, levels in zip(shared, runs, strict=True) for _ in levels)
            yield tuple(map(int, random.integers(self.levels)))

    def edited(self, genome: Sequence[float], random: np.random.Generator) -> Sequence[float]:  # noqa: ARG002
        """The genome as it is: there are no choices to change."""
        return genome

    def repaired(self, genome: Sequence[int]) -> Genome:
        """The genome as it is: here each one means a merge."""
        return tuple(map(int, genome))

    def decode(self, genome: Sequence[int]) -> WeightMerge:
        """The recipe that a genome means.

        Canonical, so that genomes that mean one merge give one recipe: the method's form (merging.specs.search) settles
        the values, and the method where another one makes the same merge; what gives one model back unchanged is that
        model's `alone`; values that are equal in all groups make one group of the whole model; the seed of methods that
        draw nothing is 0.
        A genome of wrong length, or with an index off its grid, raises MergingError.
        """
        self._check(genome)
        values = [gene.value(int(index)) for gene, index in zip(self.genes, genome, strict=True)]
        meaning = self._form.meaning(self._rows(values), self._grid)
        if meaning.values is None:
            return self.singles()[meaning.sources[0] if meaning.sources else -1]
        sources = tuple(self.sources[source] for source in meaning.sources)
        return self._recipe(METHODS[meaning.method or self.method], sources, meaning.values)

    def encode(self, recipe: Recipe) -> Genome | None:
        """The genome nearest to a recipe, whose groups must be those of this space or a single one.

        None for a path, for a merge of none of these models, and for one that this method's values cannot say.
        """
        if recipe.hops:
            return None
        (merge,) = recipe.parts
        columns = self._columns_of(merge.groups)
        meaning = None if columns is None else self._meaning_of(merge, columns)
        values = None if meaning is None else self._form.restore(meaning, self._grid)
        if values is None:
            return None
        return tuple(gene.nearest(values[gene.parameter][gene.source][gene.group or 0]) for gene in self.genes)

    def _columns_of(self, groups: Partition) -> Sequence[int] | None:
        """For each group of this space, the index of the other partition's group; None if they do not correspond."""
        count, every = len(self.groups.labels), groups.complete
        if every == self.groups.complete:
            return range(count)
        return (0,) * count if every == self._whole.complete else None

    def _meaning_of(self, merge: WeightMerge, columns: Sequence[int]) -> Meaning | None:
        """What a merge means to the form; None if it has none of this space's models."""
        rows = {source: row for row, source in enumerate(merge.sources)}
        kept = tuple(source for source in merge.sources if source in self.sources)
        sources = tuple(map(self.sources.index, kept))
        if merge.is_single:
            return Meaning(sources, groups=len(columns)) if kept or merge.sources == (self.base,) else None
        values = {
            name: tuple(
                tuple(merge.rows(name)[row][column] for column in columns)
                for row in ([rows[source] for source in kept] if parameter.per_source else [0])
            )
            for name, parameter in METHODS[merge.method].parameters.items()
        }
        method = None if merge.method == self.method else merge.method
        return Meaning(sources, values, method, len(columns)) if kept else None

    @property
    def _form(self) -> SearchForm:
        form = METHODS[self.method].search
        if form is None:  # `build` refuses such methods
            raise ValueError(f"{self.method} is not searched")
        return form

    @cached_property
    def _grid(self) -> Grid:
        return Grid({gene.parameter: gene for gene in self.genes}, len(self.sources))

    def _customary(self, method: Method) -> WeightMerge:
        """All sources merged with the method's customary values."""
        rows = {
            name: ((value,),) * (len(self.sources) if method.parameters[name].per_source else 1)
            for name, value in method.customary.values.items()
        }
        return self._recipe(method, self.sources, rows)

    def _recipe(self, method: Method, sources: tuple[ModelId, ...], rows: Mapping[str, Rows]) -> WeightMerge:
        """A recipe of one group where all groups have equal values."""
        groups = self.groups
        if all(len(set(row)) == 1 for table in rows.values() for row in table):
            groups = self._whole
            rows = {name: tuple(row[:1] for row in table) for name, table in rows.items()}
        fixed = {
            name: ((parameter.searched_as,) * len(groups.labels),)
            for name, parameter in method.parameters.items()
            if parameter.searched_as is not None
        }
        return WeightMerge(
            method=method.name,
            sources=sources,
            base=self.base if method.reads_base else None,
            groups=groups,
            parameters=tuple({**fixed, **rows}.items()),
            dtype=self.dtype,
            seed=self.seed if method.draws else 0,
            vocabulary=self.vocabulary,
            carrier=self.carrier,
        )

    @cached_property
    def _whole(self) -> Partition:
        return self.groups.single_group

    def _rows(self, values: Sequence[float]) -> Mapping[str, Rows]:
        """Values in gene order as parameter → [source][group]."""
        rows: dict[str, Rows] = {}
        for (name, _), run in groupby(zip(self.genes, values, strict=True), lambda pair: _by_source(pair[0])):
            rows[name] = (*rows.get(name, ()), tuple(value for _, value in run))
        return rows

    def _constant(self, point: Point) -> Genome | None:
        """The genome with a point's values in all groups; None if one is off the grid."""
        genome = []
        for gene in self.genes:
            index = gene.index(point[gene.parameter][gene.source])
            if index is None:
                return None
            genome.append(index)
        return tuple(genome)

    def _check(self, genome: Sequence[int]) -> None:
        if len(genome) != len(self.genes):
            raise MergingError(f"genome: got {len(genome)} indices: this space has {len(self.genes)} genes")
        for gene, index in zip(self.genes, genome, strict=True):
            if not 0 <= index < gene.levels:
                group = "" if gene.group is None else f" in {self.groups.labels[gene.group]}"
                where = f"{gene.parameter} of source {gene.source}{group}"
                raise MergingError(f"genome: got {index} for {where}: give 0 to {gene.levels - 1}")


def _by_source(gene: Gene) -> tuple[str, int]:
    """The key that a gene shares with those of other groups."""
    return gene.parameter, gene.source

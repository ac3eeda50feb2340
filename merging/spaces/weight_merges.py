"""The search space of parameter merges: grids of genes, and what recipe each genome means.

Different genomes may mean one and the same merge, so decoding is canonical: equal merges become one recipe
with one digest wherever that can be told without looking at tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING

from merging.errors import MergingError
from merging.method_specs import METHODS, SEARCHED
from merging.recipes.weight_merge import ModelId, Partition, WeightMerge
from merging.spaces.canonical import BETWEEN, BY_ELEMENT, RATIOS, Rows, by_element_rows, largest_ratio, task_vector_rows
from merging.spaces.genes import INCLUDED, Gene, genes_of
from merging.spaces.space import Genome

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Gene", "Genome", "WeightMergeSpace"]


# What people merge with when they tune nothing, the same for every source: task vectors added whole (Ilharco et al.
# 2022), TIES with the top fifth of each (Yadav et al. 2023), DARE with half dropped (Yu et al. 2023), DELLA likewise,
# Breadcrumbs with 85 % masked (Davari & Belilovsky 2024), SCE with the top tenth (Wan et al. 2024).
_CUSTOMARY: Mapping[str, tuple[str, Mapping[str, float]]] = MappingProxyType(
    {
        "slerp": ("slerp halfway", {"t": 0.5}),
        "nuslerp": ("nuslerp halfway", {"weight": 1.0}),
        "multislerp": ("multislerp, equal weights", {"weight": 1.0}),
        "karcher": ("karcher, all sources", {}),
        "task_arithmetic": ("task_arithmetic, weight 1", {"weight": 1.0}),
        "ties": ("ties, weight 1, density 0.2", {"density": 0.2, "weight": 1.0}),
        "dare_linear": ("dare_linear, weight 1, density 0.5", {"density": 0.5, "weight": 1.0}),
        "dare_ties": ("dare_ties, weight 1, density 0.5", {"density": 0.5, "weight": 1.0}),
        "della": ("della, weight 1, density 0.5", {"density": 0.5, "epsilon": 0.15, "weight": 1.0}),
        "della_linear": ("della_linear, weight 1, density 0.5", {"density": 0.5, "epsilon": 0.15, "weight": 1.0}),
        "breadcrumbs": ("breadcrumbs, weight 1, density 0.15", {"density": 0.15, "gamma": 0.01, "weight": 1.0}),
        "breadcrumbs_ties": (
            "breadcrumbs_ties, weight 1, density 0.15",
            {"density": 0.15, "gamma": 0.01, "weight": 1.0},
        ),
        "sce": ("sce, top tenth", {"select_topk": 0.1}),
        "model_stock": ("model_stock, all sources", {"filter_wise": 0.0}),
        "nearswap": ("nearswap, t 0.001", {"t": 0.001}),
        "arcee_fusion": ("arcee_fusion", {}),
        "ram": ("ram", {"epsilon": 1e-5}),
        "ramplus_tl": ("ramplus_tl", {"alpha": 0.2, "r": 0.1}),
    }
)


@dataclass(frozen=True)
class WeightMergeSpace:
    """All merges of some sources by one method; a genome has one grid index per gene.

    genes: ordered by parameter name, then source, then group.
    seed: of DARE's draws, the same for every candidate, so that genes alone make the difference.
    """

    method: str
    sources: tuple[ModelId, ...]
    base: ModelId | None
    groups: Partition
    dtype: str
    seed: int
    genes: tuple[Gene, ...]

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
    ) -> WeightMergeSpace:
        """The space of a method with its usual ranges; MergingError names what cannot be searched.

        base is left out by methods that read none. step must divide 1, so that a source alone (weight 1) is
        on the grid.
        """
        if method not in METHODS:
            raise MergingError(f"method: got {method!r}: use one of {', '.join(SEARCHED)}")
        if method not in SEARCHED:
            why = "the layers of its one source are searched as paths, not as mixtures"
            raise MergingError(f"method: got {method!r}: {why}: use one of {', '.join(SEARCHED)}")
        genes = genes_of(method, len(sources), len(groups.labels), step)
        base = base if METHODS[method].reads_base else None
        space = cls(method, tuple(sources), base, groups, dtype, seed, genes)
        space.plain_recipes()  # a recipe checks its sources, base and dtype when it is made: refuse them now
        return space

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """How many values each gene has."""
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
        return WeightMerge.single(source, self._whole, self.dtype)

    def singles(self) -> tuple[WeightMerge, ...]:
        """Every source alone, then the base alone where the method reads one."""
        models = self.sources if self.base is None else (*self.sources, self.base)
        return tuple(map(self.alone, models))

    def plain_recipes(self) -> tuple[tuple[str, WeightMerge], ...]:
        """Named merges that anyone gets without a search: the baselines that a search has to beat.

        Always "linear mean"; where the method is another, its customary settings too. They need not lie on
        the grid.
        """
        mean = self._recipe("linear", self.sources, {"weight": ((1.0,),) * len(self.sources)})
        if self.method == "linear":
            return (("linear mean", mean),)
        name, values = _CUSTOMARY[self.method]
        rows = {
            parameter: ((value,),) * (len(self.sources) if METHODS[self.method].parameters[parameter].per_source else 1)
            for parameter, value in values.items()
        }
        return (("linear mean", mean), (name, self._recipe(self.method, self.sources, rows)))

    def seeds(self) -> tuple[Genome, ...]:
        """Genomes to start from, as far as the grid has them: sources alone, the base alone, plain merges."""
        wanted = [*self._extremes(), *self._plain_values()]
        genomes = dict.fromkeys(genome for values in wanted if (genome := self._constant(values)) is not None)
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

    def _extremes(self) -> list[dict[str, list[float]]]:
        """Values that give a source or the base back; where the method cannot say that, the ends of its grid."""
        count = len(self.sources)
        if self.method in BETWEEN:
            return [{"t": [0.0]}, *([{"t": [1.0]}] if self.method == "slerp" else [])]
        if self.method in BY_ELEMENT:
            ends = [{name: [gene.low] for name, gene in self._others.items()}]
            return [*ends, {name: [gene.high] for name, gene in self._others.items()}]
        weights = [[float(source == chosen) for source in range(count)] for chosen in range(count)]
        if METHODS[self.method].by_choice:
            return [{**{name: [gene.low] for name, gene in self._others.items()}, INCLUDED: row} for row in weights]
        # For weights of which the ratio counts, none at all would be no merge; for others they leave the base.
        weights += [] if self.method in RATIOS else [[0.0] * count]
        whole = {name: [1.0 if name == "density" else gene.low] * count for name, gene in self._others.items()}
        return [{**whole, "weight": row} for row in weights]

    def _plain_values(self) -> list[dict[str, list[float]]]:
        count = len(self.sources)
        if self.method == "linear":
            return [{"weight": [1.0] * count}]
        customary = {name: [value] * count for name, value in _CUSTOMARY[self.method][1].items()}
        if METHODS[self.method].by_choice:
            return [{**customary, INCLUDED: [1.0] * count}]
        if self.method in RATIOS | BETWEEN | BY_ELEMENT:
            return [customary]
        whole = {name: [1.0 if name == "density" else gene.low] * count for name, gene in self._others.items()}
        return [{**whole, "weight": [1.0 / count] * count}, customary]

    @cached_property
    def _others(self) -> Mapping[str, Gene]:
        """A gene of each parameter beside the weight."""
        return {gene.parameter: gene for gene in self.genes if gene.parameter != "weight"}

    def decode(self, genome: Sequence[int]) -> WeightMerge:
        """The recipe that a genome means.

        Canonical: what gives one model back unchanged is that model's `alone`; sources without weight are
        left out, and all take part where none was chosen; values that are equal in all groups make one group of
        the whole model; weights of which only the ratio counts are the largest on the grid with that ratio (none
        at all counts as equal weights); what makes no difference has its default (merging.spaces.canonical); the seed
        of methods that draw nothing is 0.
        A genome of wrong length, or with an index off its grid, raises MergingError.
        """
        self._check(genome)
        if self.method in RATIOS:
            return self._decode_ratios([int(index) for index in genome])
        rows = self._rows([gene.value(int(index)) for gene, index in zip(self.genes, genome, strict=True)])
        if self.method in BETWEEN:
            return self._decode_between(rows)
        if self.method in BY_ELEMENT:
            return self._recipe(self.method, self.sources, by_element_rows(self.method, rows))
        if METHODS[self.method].by_choice:
            return self._decode_choice(rows)
        return self._decode_task_vectors(rows)

    def _decode_ratios(self, genome: Sequence[int]) -> WeightMerge:
        width = len(self.groups.labels)
        gene = self.genes[0]  # all genes of weights share one grid
        columns = [largest_ratio(genome[group::width], gene.levels - 1) for group in range(width)]
        rows = dict(zip(self.sources, zip(*columns, strict=True), strict=True))
        weights = {source: tuple(map(gene.value, row)) for source, row in rows.items() if any(row)}
        if len(weights) == 1:
            return self.alone(*weights)
        return self._recipe(self.method, tuple(weights), {"weight": tuple(weights.values())})

    def _decode_between(self, rows: Mapping[str, Rows]) -> WeightMerge:
        ends = self.sources if self.method == "slerp" else self.sources[:1]
        for end, source in enumerate(ends):
            if all(t == end for t in rows["t"][0]):
                return self.alone(source)
        return self._recipe(self.method, self.sources, rows)

    def _decode_choice(self, rows: Mapping[str, Rows]) -> WeightMerge:
        chosen = [source for source, (included,) in zip(self.sources, rows[INCLUDED], strict=True) if included]
        if len(chosen) == 1:
            return self.alone(*chosen)
        others = {name: table for name, table in rows.items() if name != INCLUDED}
        return self._recipe(self.method, chosen or self.sources, others)

    def _decode_task_vectors(self, rows: Mapping[str, Rows]) -> WeightMerge:
        used, kept = task_vector_rows(self.method, rows, self.genes[-1].step)
        if not used and self.base is not None:
            return self.alone(self.base)
        whole = (kept["weight"], kept.get("density", ()))
        if len(used) == 1 and all(value == 1 for table in whole for row in table for value in row):
            return self.alone(self.sources[used[0]])
        return self._recipe(self.method, [self.sources[source] for source in used], kept)

    def _recipe(self, method: str, sources: Sequence[ModelId], rows: Mapping[str, Rows]) -> WeightMerge:
        """A recipe with as few groups as say the same."""
        rule, groups = METHODS[method], self.groups
        if all(len(set(row)) == 1 for table in rows.values() for row in table):
            groups = self._whole
            rows = {name: tuple(row[:1] for row in table) for name, table in rows.items()}
        fixed = {
            name: ((parameter.searched_as,) * len(groups.labels),)
            for name, parameter in rule.parameters.items()
            if parameter.searched_as is not None
        }
        return WeightMerge(
            method=method,
            sources=tuple(sources),
            base=self.base if rule.reads_base else None,
            groups=groups,
            parameters=tuple({**fixed, **rows}.items()),
            dtype=self.dtype,
            seed=self.seed if rule.draws else 0,
        )

    @cached_property
    def _whole(self) -> Partition:
        return Partition.even(self.groups.layers, 1, modules_apart=False, ends_apart=False)

    def _rows(self, values: Sequence[float]) -> Mapping[str, Rows]:
        """Values in gene order as parameter → [source][group]."""
        rows: dict[str, Rows] = {}
        for (name, _), run in groupby(zip(self.genes, values, strict=True), lambda pair: _by_source(pair[0])):
            rows[name] = (*rows.get(name, ()), tuple(value for _, value in run))
        return rows

    def _constant(self, values: Mapping[str, Sequence[float]]) -> Genome | None:
        """The genome of parameter → value per source, the same in all groups; None if one is off the grid."""
        genome = []
        for gene in self.genes:
            index = gene.index(values[gene.parameter][gene.source])
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
    """What a gene shares with those of other groups."""
    return gene.parameter, gene.source

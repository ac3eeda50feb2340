"""The search space of parameter merges: grids of genes, and what recipe each genome means.

Different genomes may mean one and the same merge, so decoding is canonical: equal merges become one recipe
with one digest wherever that can be told without looking at tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import floor, gcd, prod
from types import MappingProxyType

from merging.errors import MergingError
from merging.recipe import METHODS, Groups, Recipe, SourceRef

Genome = tuple[int, ...]
_Rows = tuple[tuple[float, ...], ...]

_STOCHASTIC = frozenset({"dare_linear", "dare_ties"})

# Above 1 a task vector is amplified, which merges of weak specialists profit from. A density near 0 leaves
# next to nothing of a task vector, and DARE's rescaling by its inverse turns the rest into noise.
_RANGES: Mapping[str, Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "linear": {"weight": (0.0, 1.0)},
        "slerp": {"t": (0.0, 1.0)},
        "task_arithmetic": {"weight": (0.0, 1.5)},
        "ties": {"density": (0.1, 1.0), "weight": (0.0, 1.5)},
        "dare_linear": {"density": (0.1, 1.0), "weight": (0.0, 1.5)},
        "dare_ties": {"density": (0.1, 1.0), "weight": (0.0, 1.5)},
    }
)

# What people merge with when they tune nothing: task vectors added whole (Ilharco et al. 2022), TIES with the
# top fifth of each (Yadav et al. 2023), DARE with half dropped (Yu et al. 2023).
_DEFAULTS: Mapping[str, tuple[str, Mapping[str, float]]] = MappingProxyType(
    {
        "slerp": ("slerp halfway", {"t": 0.5}),
        "task_arithmetic": ("task_arithmetic, weight 1", {"weight": 1.0}),
        "ties": ("ties, weight 1, density 0.2", {"density": 0.2, "weight": 1.0}),
        "dare_linear": ("dare_linear, weight 1, density 0.5", {"density": 0.5, "weight": 1.0}),
        "dare_ties": ("dare_ties, weight 1, density 0.5", {"density": 0.5, "weight": 1.0}),
    }
)


@dataclass(frozen=True)
class Gene:
    """One number of a recipe, on a grid: low, low + step, ... up to high.

    source: index of the source it belongs to (0 for slerp's "t", which belongs to both).
    group: index of the group of tensors it belongs to.
    """

    parameter: str
    source: int
    group: int
    low: float
    high: float
    step: float

    @property
    def levels(self) -> int:
        """How many values the grid has."""
        return round((self.high - self.low) / self.step) + 1

    def value(self, index: int) -> float:
        """The grid value at an index, as the shortest decimal: 3 steps of 0.05 are 0.15."""
        return round(self.low + index * self.step, 6)

    def index(self, value: float) -> int | None:
        """Index of a value, or None where it is not on the grid."""
        index = round((value - self.low) / self.step)
        on_grid = 0 <= index < self.levels and abs(self.value(index) - value) < 1e-9
        return index if on_grid else None


@dataclass(frozen=True)
class SearchSpace:
    """All merges of some sources by one method; a genome has one grid index per gene.

    genes: ordered by parameter name, then source, then group.
    seed: of DARE's draws, the same for every candidate, so that genes alone make the difference.
    """

    method: str
    sources: tuple[SourceRef, ...]
    base: SourceRef | None
    groups: Groups
    dtype: str
    seed: int
    genes: tuple[Gene, ...]

    @classmethod
    def build(
        cls,
        *,
        method: str,
        sources: Sequence[SourceRef],
        base: SourceRef | None,
        groups: Groups,
        dtype: str,
        seed: int,
        step: float = 0.05,
    ) -> SearchSpace:
        """The space of a method with its usual ranges; MergingError names what cannot be searched.

        base is left out by methods that read none. step must divide 1, so that a source alone (weight 1) is
        on the grid.
        """
        if method not in METHODS:
            raise MergingError(f"method: got {method!r}: use one of {', '.join(METHODS)}")
        if not 0 < step <= 1 or round(step, 6) != step or abs(round(1 / step) * step - 1) > 1e-9:
            raise MergingError(f"step: got {step}: give a decimal that divides 1, such as 0.05 or 0.1")
        genes = tuple(
            Gene(parameter, source, group, *_on_grid(*_RANGES[method][parameter], step), step)
            for parameter, per_source in sorted(METHODS[method].parameters.items())
            for source in range(len(sources) if per_source else 1)
            for group in range(len(groups.labels))
        )
        base = base if METHODS[method].needs_base else None
        space = cls(method, tuple(sources), base, groups, dtype, seed, genes)
        space.plain_recipes()  # a recipe checks its sources, base and dtype when it is made: refuse them now
        return space

    @property
    def size(self) -> int:
        """Number of genomes; the number of different recipes is smaller."""
        return prod(gene.levels for gene in self.genes)

    def alone(self, source: SourceRef) -> Recipe:
        """The recipe that gives a source (or the base) back: the only one this space ever makes for it."""
        return Recipe.single(source, self._whole, self.dtype)

    def singles(self) -> tuple[Recipe, ...]:
        """Every source alone, then the base alone where the method reads one."""
        models = self.sources if self.base is None else (*self.sources, self.base)
        return tuple(map(self.alone, models))

    def plain_recipes(self) -> tuple[tuple[str, Recipe], ...]:
        """Named merges that anyone gets without a search: the baselines that a search has to beat.

        Always "linear mean"; where the method is another, its customary settings too. They need not lie on
        the grid.
        """
        mean = self._recipe("linear", self.sources, {"weight": ((1.0,),) * len(self.sources)})
        if self.method == "linear":
            return (("linear mean", mean),)
        name, values = _DEFAULTS[self.method]
        rows = {
            parameter: ((values[parameter],),) * (len(self.sources) if per_source else 1)
            for parameter, per_source in METHODS[self.method].parameters.items()
        }
        return (("linear mean", mean), (name, self._recipe(self.method, self.sources, rows)))

    def seeds(self) -> tuple[Genome, ...]:
        """Genomes to start from, as far as the grid has them: sources alone, the base alone, plain merges."""
        count = len(self.sources)
        if self.method == "slerp":
            wanted = [{"t": [t]} for t in (0.0, 1.0, 0.5)]
        else:
            density = {"density": [1.0] * count} if "density" in _RANGES[self.method] else {}
            weights = [[float(source == chosen) for source in range(count)] for chosen in range(count)]
            # For linear, weights of zero would be no merge; for the others they leave the base.
            weights += [] if self.base is None else [[0.0] * count]
            weights += [[1.0] * count] if self.base is None else [[1.0 / count] * count]
            wanted = [{"weight": row, **density} for row in weights]
            if self.method in _DEFAULTS:
                wanted += [{name: [value] * count for name, value in _DEFAULTS[self.method][1].items()}]
        genomes = (self._constant(values) for values in wanted)
        return tuple(genome for genome in genomes if genome is not None)

    def decode(self, genome: Sequence[int]) -> Recipe:
        """The recipe that a genome means.

        Canonical: what gives one model back unchanged is that model's `alone`; sources without weight are
        left out; values that are equal in all groups make one group of the whole model; linear weights, of
        which only the ratio counts, are the largest on the grid with that ratio (none at all counts as equal
        weights); the density of what has no weight is 1; the seed of methods that draw nothing is 0.
        A genome of wrong length, or with an index off its grid, raises MergingError.
        """
        self._check(genome)
        if self.method == "linear":
            return self._decode_linear([int(index) for index in genome])
        rows = self._rows([gene.value(int(index)) for gene, index in zip(self.genes, genome, strict=True)])
        return self._decode_slerp(rows) if self.method == "slerp" else self._decode_task_vectors(rows)

    def _decode_linear(self, genome: Sequence[int]) -> Recipe:
        width = len(self.groups.labels)
        gene = self.genes[0]  # all genes of a linear space share one grid
        columns = [_largest_ratio(genome[group::width], gene.levels - 1) for group in range(width)]
        rows = dict(zip(self.sources, zip(*columns, strict=True), strict=True))
        weights = {source: tuple(map(gene.value, row)) for source, row in rows.items() if any(row)}
        if len(weights) == 1:
            return self.alone(*weights)
        return self._recipe("linear", tuple(weights), {"weight": tuple(weights.values())})

    def _decode_slerp(self, rows: Mapping[str, _Rows]) -> Recipe:
        for end, source in enumerate(self.sources):
            if all(t == end for t in rows["t"][0]):
                return self.alone(source)
        return self._recipe("slerp", self.sources, rows)

    def _decode_task_vectors(self, rows: Mapping[str, _Rows]) -> Recipe:
        used = [source for source, row in enumerate(rows["weight"]) if any(row)]
        kept = {"weight": tuple(rows["weight"][source] for source in used)}
        if "density" in rows:
            kept["density"] = tuple(
                tuple(
                    density if weight else 1.0
                    for density, weight in zip(rows["density"][source], rows["weight"][source], strict=True)
                )
                for source in used
            )
        if not used and self.base is not None:
            return self.alone(self.base)
        if len(used) == 1 and all(value == 1 for (row,) in kept.values() for value in row):
            return self.alone(self.sources[used[0]])
        return self._recipe(self.method, [self.sources[source] for source in used], kept)

    def _recipe(self, method: str, sources: Sequence[SourceRef], rows: Mapping[str, _Rows]) -> Recipe:
        """A recipe with as few groups as say the same."""
        groups = self.groups
        if all(len(set(row)) == 1 for table in rows.values() for row in table):
            groups = self._whole
            rows = {name: tuple(row[:1] for row in table) for name, table in rows.items()}
        return Recipe(
            method=method,
            sources=tuple(sources),
            base=self.base if METHODS[method].needs_base else None,
            groups=groups,
            parameters=tuple(sorted(rows.items())),
            dtype=self.dtype,
            seed=self.seed if method in _STOCHASTIC else 0,
        )

    @cached_property
    def _whole(self) -> Groups:
        return Groups.even(self.groups.layers, 1, modules_apart=False, ends_apart=False)

    def _rows(self, values: Sequence[float]) -> Mapping[str, _Rows]:
        """Values in gene order as parameter → [source][group]."""
        width = len(self.groups.labels)
        rows: dict[str, tuple[tuple[float, ...], ...]] = {}
        for start in range(0, len(values), width):
            name = self.genes[start].parameter
            rows[name] = (*rows.get(name, ()), tuple(values[start : start + width]))
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
                where = f"{gene.parameter} of source {gene.source} in {self.groups.labels[gene.group]}"
                raise MergingError(f"genome: got {index} for {where}: give 0 to {gene.levels - 1}")


def _on_grid(low: float, high: float, step: float) -> tuple[float, float]:
    """The part of a range that a grid of multiples around 1 reaches: 1 is always on it."""
    below, above = (floor(abs(edge - 1) / step + 1e-9) for edge in (low, high))
    return round(1 - below * step, 6), round(1 + above * step, 6)


def _largest_ratio(weights: Sequence[int], most: int) -> tuple[int, ...]:
    """The largest whole numbers up to `most` with the same ratios; equal ones where all weights are zero."""
    divisor = gcd(*weights)
    if divisor == 0:
        return (most,) * len(weights)
    factor = most // (max(weights) // divisor)
    return tuple(weight // divisor * factor for weight in weights)

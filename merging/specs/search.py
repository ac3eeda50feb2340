"""The meaning of genomes: canonical forms, so that one merge has one recipe, and the values a search starts from.

Different genomes may mean one merge. A form gives all of them the same values wherever that follows from the values
alone; genomes that give one model back unchanged mean that model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, ClassVar

from merging.specs.genes import INCLUDED

if TYPE_CHECKING:
    from merging.specs.genes import Gene

Rows = tuple[tuple[float, ...], ...]
"""[source][group]; a single row for what all sources share."""

Point = dict[str, list[float]]
"""Parameter → a value per source, the same in all groups of tensors."""


@dataclass(frozen=True)
class Grid:
    """The grid of a search: one gene of each parameter, because all its genes are alike, and the number of sources."""

    genes: Mapping[str, Gene]
    sources: int


@dataclass(frozen=True)
class Meaning:
    """The merge that a genome means.

    sources: indices of the sources that take part, in their order.
    values: their rows; None: one model comes back unchanged, the only source or, where there is none, the base.
    method: the name of another method that makes the same merge, to which the values belong; None: the searched one.
    groups: number of groups that a row has values for; read only by `SearchForm.restore`.
    """

    sources: tuple[int, ...]
    values: Mapping[str, Rows] | None = None
    method: str | None = None
    groups: int = 1


class SearchForm(ABC):
    """The way in which a search reads a method's genomes, and its starting points."""

    chooses_sources: ClassVar[bool] = False
    """Whether genes say which sources take part, because the method gives them no weights."""

    @abstractmethod
    def meaning(self, values: Mapping[str, Rows], grid: Grid) -> Meaning:
        """The merge that values mean, in its canonical form."""

    @abstractmethod
    def restore(self, merge: Meaning, grid: Grid) -> Mapping[str, Rows] | None:
        """Values, for every source of the grid, that mean a merge; None where no values do.

        It is the inverse of `meaning`, for merges of other searches too: their values need not be on the grid, and
        sources may be missing on both sides. merge: its values are those of all parameters of its method.
        """

    @abstractmethod
    def extremes(self, grid: Grid) -> list[Point]:
        """Values that give a source or the base back; where the method cannot do that, the ends of its grid."""

    def plain(self, customary: Point, grid: Grid) -> list[Point]:  # noqa: ARG002 - for other forms
        """Values of merges that people make without a search."""
        return [customary]


class ByRatio(SearchForm):
    """Weights of which only the ratio counts: the largest on the grid with that ratio; equal ones if all are 0."""

    def meaning(self, values: Mapping[str, Rows], grid: Grid) -> Meaning:
        """Sources without weight are left out."""
        rows = settle_ratios(values["weight"], grid)
        used = tuple(source for source, row in enumerate(rows) if any(row))
        if len(used) == 1:
            return Meaning(used)
        return Meaning(used, {"weight": tuple(rows[source] for source in used)})

    def restore(self, merge: Meaning, grid: Grid) -> Mapping[str, Rows] | None:
        """Sources that are not in the merge have no weight."""
        if merge.method is not None or not merge.sources:
            return None
        return {"weight": spread_rows(merge, "weight", 1.0, 0.0, grid)}

    def extremes(self, grid: Grid) -> list[Point]:
        """Each source alone."""
        return [{"weight": row} for row in each_alone(grid.sources)]


@dataclass(frozen=True)
class Between(SearchForm):
    """From the first source (t = 0) to the second.

    reaches_second: whether t = 1 gives the second source back.
    """

    reaches_second: bool

    def meaning(self, values: Mapping[str, Rows], grid: Grid) -> Meaning:  # noqa: ARG002 - for other forms
        """A t that is at one end in all groups means that source."""
        for end in self._ends:
            if all(t == end for t in values["t"][0]):
                return Meaning((end,))
        return Meaning((0, 1), values)

    def restore(self, merge: Meaning, grid: Grid) -> Mapping[str, Rows] | None:  # noqa: ARG002 - for other forms
        """A t from the second source to the first is turned round, where the method is the same both ways."""
        if len(merge.sources) == 1:
            (end,) = merge.sources
            return {"t": ((float(end),) * merge.groups,)} if end in self._ends else None
        turned = merge.sources == (1, 0)
        if merge.method is not None or merge.values is None or (turned and not self.reaches_second):
            return None
        (row,) = merge.values["t"]
        return {"t": (tuple(1 - t for t in row) if turned else row,)}

    def extremes(self, grid: Grid) -> list[Point]:  # noqa: ARG002 - for other forms
        """The sources that t reaches."""
        return [{"t": [float(end)]} for end in self._ends]

    @property
    def _ends(self) -> range:
        return range(2 if self.reaches_second else 1)


class ByChoice(SearchForm):
    """Sources without weights, so that the search chooses which take part. None chosen counts as all."""

    chooses_sources = True

    def meaning(self, values: Mapping[str, Rows], grid: Grid) -> Meaning:
        """A single chosen source means that source."""
        chosen = tuple(source for source, (included,) in enumerate(values[INCLUDED]) if included)
        if len(chosen) == 1:
            return Meaning(chosen)
        others = {name: rows for name, rows in values.items() if name != INCLUDED}
        return Meaning(chosen or tuple(range(grid.sources)), others)

    def restore(self, merge: Meaning, grid: Grid) -> Mapping[str, Rows] | None:
        """The sources of the merge take part."""
        if merge.method is not None or not merge.sources:
            return None
        low = {name: ((gene.low,) * merge.groups,) for name, gene in grid.genes.items()}
        given = {name: rows for name, rows in (merge.values or {}).items() if name in grid.genes}
        included = tuple((float(source in merge.sources),) for source in range(grid.sources))
        return {**low, **given, INCLUDED: included}

    def extremes(self, grid: Grid) -> list[Point]:
        """Each source alone."""
        others = {name: [gene.low] * grid.sources for name, gene in grid.genes.items() if name != INCLUDED}
        return [{**others, INCLUDED: row} for row in each_alone(grid.sources)]

    def plain(self, customary: Point, grid: Grid) -> list[Point]:
        """The customary values with all sources."""
        return [{**customary, INCLUDED: [1.0] * grid.sources}]


@dataclass(frozen=True)
class AllSources(SearchForm):
    """Parameters that all sources share: every source takes part.

    settle: replaces one group's values that make no difference by fixed ones; None: all make a difference.
    """

    settle: Callable[[dict[str, float]], dict[str, float]] | None = None

    def meaning(self, values: Mapping[str, Rows], grid: Grid) -> Meaning:
        """All sources with the settled values."""
        everybody = tuple(range(grid.sources))
        if self.settle is None:
            return Meaning(everybody, values)
        groups = range(len(next(iter(values.values()))[0]))
        columns = [self.settle({name: row[group] for name, (row,) in values.items()}) for group in groups]
        return Meaning(everybody, {name: (tuple(column[name] for column in columns),) for name in values})

    def restore(self, merge: Meaning, grid: Grid) -> Mapping[str, Rows] | None:
        """The values of the merge, whichever sources it had: all of the grid take part."""
        if merge.method is not None or merge.values is None:
            return None
        return {name: merge.values[name] for name in grid.genes}

    def extremes(self, grid: Grid) -> list[Point]:
        """The ends of the grid."""
        lowest = {name: [gene.low] for name, gene in grid.genes.items()}
        return [lowest, {name: [gene.high] for name, gene in grid.genes.items()}]


def settle_ratios(weights: Rows, grid: Grid) -> Rows:
    """The largest weights on the grid, up to 1, with the same ratios in each group; equal ones where all are zero."""
    gene = grid.genes["weight"]
    columns = [
        _largest_ratio([gene.index(weight) or 0 for weight in column], gene.index(1.0) or 0)
        for column in zip(*weights, strict=True)
    ]
    return tuple(tuple(map(gene.value, row)) for row in zip(*columns, strict=True))


def spread_rows(merge: Meaning, parameter: str, alone: float, absent: float, grid: Grid) -> Rows:
    """A parameter's rows for every source of the grid.

    alone: the value of a model that comes back unchanged. absent: that of sources which are not in the merge.
    """
    given = (merge.values or {}).get(parameter, ((alone,) * merge.groups,) * len(merge.sources))
    rows = dict(zip(merge.sources, given, strict=True))
    return tuple(rows.get(source, (absent,) * merge.groups) for source in range(grid.sources))


def each_alone(count: int) -> list[list[float]]:
    """For each of `count` sources the values with which it is alone: 1 for it and 0 for the others."""
    return [[float(source == alone) for source in range(count)] for alone in range(count)]


def _largest_ratio(weights: Sequence[int], most: int) -> tuple[int, ...]:
    """The largest whole numbers up to `most` with the same ratios; equal ones where all weights are zero."""
    divisor = gcd(*weights)
    if divisor == 0:
        return (most,) * len(weights)
    factor = most // (max(weights) // divisor)
    return tuple(weight // divisor * factor for weight in weights)

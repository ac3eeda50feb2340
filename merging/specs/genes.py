"""One gene: a number of a recipe, on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

from merging.errors import MergingError
from merging.specs.method import Method, Parameter

INCLUDED = "included"
"""The genes of methods that give sources no weights: 1 for each source that takes part, else 0."""

_DECIMALS = 9


@dataclass(frozen=True)
class Gene:
    """One number of a recipe, on a grid: low, low + step, ... up to high.

    source: index of the source it belongs to (0 for what all sources share, as slerp's "t").
    group: index of the group of tensors it belongs to; None: all of them.
    """

    parameter: str
    source: int
    group: int | None
    low: float
    high: float
    step: float

    @property
    def levels(self) -> int:
        """Number of values on the grid."""
        return round((self.high - self.low) / self.step) + 1

    def value(self, index: int) -> float:
        """The grid value at an index, as the shortest decimal: 3 steps of 0.05 are 0.15."""
        return round(self.low + index * self.step, _DECIMALS)

    def index(self, value: float) -> int | None:
        """Index of a value, or None where it is not on the grid."""
        index = round((value - self.low) / self.step)
        on_grid = 0 <= index < self.levels and abs(self.value(index) - value) < 10**-_DECIMALS
        return index if on_grid else None

    def nearest(self, value: float) -> int:
        """Index of the grid value that is nearest to a value."""
        return min(max(round((value - self.low) / self.step), 0), self.levels - 1)


def genes_of(method: Method, sources: int, groups: int, step: float) -> tuple[Gene, ...]:
    """The genes of a method, ordered by parameter name, then source, then group.

    step: must divide 1, so that a source alone (weight 1) is on the grid; MergingError if it does not.
    """
    if not 0 < step <= 1 or round(step, 6) != step or abs(round(1 / step) * step - 1) > 1e-9:
        raise MergingError(f"step: got {step}: give a decimal that divides 1, such as 0.05 or 0.1")
    numbers = [
        Gene(name, source, group, *_grid_of(method.parameters[name], step))
        for name in method.genes
        for source in range(sources if method.parameters[name].per_source else 1)
        for group in range(groups)
    ]
    chosen = method.search is not None and method.search.chooses_sources
    included = [Gene(INCLUDED, source, None, 0.0, 1.0, 1.0) for source in range(sources if chosen else 0)]
    return tuple(sorted([*numbers, *included], key=lambda gene: gene.parameter))


def _grid_of(parameter: Parameter, step: float) -> tuple[float, float, float]:
    """Low, high and step: the part of a range that a grid of multiples around 1 unit reaches, 1 always on it."""
    searched = parameter.gene
    if searched is None:
        raise ValueError("this parameter is not searched")
    if parameter.kind == "switch":
        return 0.0, 1.0, 1.0
    below, above = (floor(abs(edge - 1) / step + 1e-9) for edge in (searched.low, searched.high))
    units = (1 - below * step, 1 + above * step, step)
    low, high, unit_step = (round(number * searched.unit, _DECIMALS) for number in units)
    return low, high, unit_step

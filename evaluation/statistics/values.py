"""The values that every statistic here takes and gives. Standard library only."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A mean over `n` items with its confidence limits."""

    mean: float
    low: float
    high: float
    n: int

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.mean, self.low, self.high))):
            raise ValueError(f"an interval must be finite numbers: got {self.mean}, {self.low}, {self.high}")


@dataclass(frozen=True)
class PairedDifference(Interval):
    """Mean of a - b over the same items, with limits and uncorrected p-values.

    p_value: one-sided, of "a is not better than b". two_sided: of "a and b are equally good".
    """

    p_value: float
    two_sided: float

    @property
    def interval(self) -> Interval:
        """The mean difference with its limits alone."""
        return Interval(self.mean, self.low, self.high, self.n)


@dataclass(frozen=True)
class Stratum:
    """The item values of one task of a skill, higher being better; weights of a skill add up to 1."""

    weight: float
    items: tuple[str, ...]
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the items."""
        return math.fsum(self.values) / len(self.values)

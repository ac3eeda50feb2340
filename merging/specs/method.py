"""A merge method: its parameters with mergekit's defaults, the models it takes, its formula and how it is searched."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from merging.errors import MergingError

if TYPE_CHECKING:
    from torch import Tensor

    from merging.kernels.inputs import Inputs
    from merging.specs.search import SearchForm

Base = Literal["required", "optional", "ignored", "first"]
"""Whether a method reads a base model in addition to its sources. "first": mergekit's base is the first source."""

Values = Mapping[str, Sequence[float]]
"""Each parameter's values for one tensor: one per source, or a single one that all sources share."""


class ValueFault(NamedTuple):
    """A fault in a method's values: the parameter, what it got, and what to do."""

    parameter: str
    got: object
    remedy: str


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, the ends included unless they are open or infinite."""

    low: float = -math.inf
    high: float = math.inf
    low_is_open: bool = False

    def holds(self, value: float) -> bool:
        """Whether a value is a finite number of this range."""
        above = self.low < value if self.low_is_open else self.low <= value
        return math.isfinite(value) and above and value <= self.high

    def __str__(self) -> str:
        if self.low == -math.inf:
            return "a finite number"
        lower = f"above {self.low:g}" if self.low_is_open else f"at least {self.low:g}"
        if self.high == math.inf:
            return lower
        return f"{lower} and at most {self.high:g}" if self.low_is_open else f"between {self.low:g} and {self.high:g}"


SHARE = Range(0, 1)
NOT_NEGATIVE = Range(0)
POSITIVE = Range(0, low_is_open=True)


@dataclass(frozen=True)
class GeneRange:
    """The values of a parameter that a search tries: from low to high times `unit`, in the search's steps."""

    low: float
    high: float
    unit: float = 1.0


@dataclass(frozen=True)
class Parameter:
    """One parameter of a method.

    default: mergekit's, used where a recipe or a YAML gives no value; None: a value must be given.
    kind: "number"; "switch", 1 for on and 0 for off; "count", a whole number.
    per_source: whether each source has its own value, rather than one for all of them.
    gene: the values that a search tries; None: a search does not vary it.
    searched_as: the value in a search's recipes where that is not the default.
    """

    default: float | None = None
    kind: Literal["number", "switch", "count"] = "number"
    per_source: bool = False
    allowed: Range = Range()
    gene: GeneRange | None = None
    searched_as: float | None = None

    def fault(self, value: float) -> str | None:
        """The reason why a value is refused, as "it must be ..."; None if it is not."""
        if self.kind == "switch":
            return None if value in (0, 1) else "it must be 0 (off) or 1 (on)"
        if self.kind == "count" and (not self.allowed.holds(value) or value != int(value)):
            return f"it must be a whole number, {self.allowed}"
        return None if self.allowed.holds(value) else f"it must be {self.allowed}"


OFF = Parameter(0.0, "switch")
ON = Parameter(1.0, "switch")
RATIO = Parameter(per_source=True, gene=GeneRange(0, 1))
"""Weights of which only the ratio counts."""


@dataclass(frozen=True)
class Customary:
    """The settings that people use when they tune nothing, the same for every source: a search has to beat them."""

    name: str
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A merge method.

    name: mergekit's, where mergekit has the method.
    sentence: description of the merge for a card; it follows "Merge. `name`: " and has no full stop.
    formula: gives the merged tensor of one tensor's inputs. It imports kernels itself, so that a method can be
        named without them.
    base: whether the method reads a base model.
    customary: the settings that people use without a search.
    search: how genomes mean recipes; None: the method is not searched, for the reason in `unsearched`.
    min_sources, max_sources: how many sources it merges, the base not counted (None: any number).
    ignored: parameters of mergekit's that change nothing about the merged weights; a reader drops them.
    skips_unweighted: whether a source without weight in a tensor makes no difference to it.
    draws: whether it draws random numbers, so that a recipe's seed matters.
    check: finds a fault in values that are each allowed, but do not fit together.
    """

    name: str
    sentence: str
    formula: Callable[[Inputs], Tensor]
    parameters: Mapping[str, Parameter]
    base: Base
    customary: Customary
    search: SearchForm | None = None
    unsearched: str = ""
    min_sources: int = 1
    max_sources: int | None = None
    ignored: tuple[str, ...] = ()
    skips_unweighted: bool = False
    draws: bool = False
    check: Callable[[Values], ValueFault | None] | None = None

    @property
    def needs_base(self) -> bool:
        """Whether a recipe must name a base model."""
        return self.base == "required"

    @property
    def reads_base(self) -> bool:
        """Whether a recipe may name a base model."""
        return self.base in ("required", "optional")

    @property
    def genes(self) -> Mapping[str, GeneRange]:
        """The parameters that a search varies."""
        return {name: parameter.gene for name, parameter in self.parameters.items() if parameter.gene is not None}

    def check_values(self, values: Values, where: str) -> None:
        """Raise MergingError for values, of every parameter, that one tensor cannot be merged with.

        where: names the tensors in the message.
        """
        for name, row in values.items():
            for value in row:
                wanted = self.parameters[name].fault(value)
                if wanted is not None:
                    raise MergingError(f"parameters.{name}: got {value}: {wanted}")
        fault = self.check(values) if self.check else None
        if fault is not None:
            raise MergingError(f"parameters.{fault.parameter}: got {fault.got} for {where}: {fault.remedy}")


NO_SUM = 1e-6
"""A sum of weights nearer to zero than this cannot be divided by: rounding errors would become the weights."""


def check_weight_sum(switch: str) -> Callable[[Values], ValueFault | None]:
    """A check for methods that divide weights by their sum where `switch` is on: the sum must not be zero."""

    def check(values: Values) -> ValueFault | None:
        weights = values["weight"]
        if values[switch] != (1.0,) or abs(math.fsum(weights)) >= NO_SUM:
            return None
        return ValueFault("weight", list(weights), "their sum must not be 0")

    return check

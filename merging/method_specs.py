"""What each merge method asks of a recipe: its parameters with mergekit's defaults, their ranges, its models.

No tensor is needed to read this; the formulas themselves are in merging.methods.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from merging.errors import MergingError

__all__ = ["METHODS", "SEARCHED", "Base", "Method", "Parameter", "Range", "Searched", "check_values", "resolved"]

Base = Literal["required", "optional", "ignored", "first"]
"""Whether a method reads a base model beside its sources. "first": what mergekit calls the base is the first source."""

NO_SUM = 1e-6
"""A sum of weights nearer to zero than this cannot be divided by: rounding would be blown up into the weights."""


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


@dataclass(frozen=True)
class Searched:
    """What a search varies of a parameter: multiples of the search's step times `unit`, from low to high units."""

    low: float
    high: float
    unit: float = 1.0


@dataclass(frozen=True)
class Parameter:
    """One parameter of a method.

    default: mergekit's, used where a recipe or a YAML says nothing; None: it has to be said.
    kind: "number"; "switch", 1 for on and 0 for off; "count", a whole number.
    per_source: it has a value for each source, else one for all of them.
    gene: how a search varies it; None: it does not.
    searched_as: the value that a search's recipes have where that is not the default.
    """

    default: float | None = None
    kind: Literal["number", "switch", "count"] = "number"
    per_source: bool = False
    allowed: Range = Range()
    gene: Searched | None = None
    searched_as: float | None = None

    def fault(self, value: float) -> str | None:
        """Why a value is refused, as "it must be ..."; None if it is not."""
        if self.kind == "switch":
            return None if value in (0, 1) else "it must be 0 (off) or 1 (on)"
        if self.kind == "count" and (not self.allowed.holds(value) or value != int(value)):
            return f"it must be a whole number, {self.allowed}"
        return None if self.allowed.holds(value) else f"it must be {self.allowed}"


@dataclass(frozen=True)
class Method:
    """What a merge method asks of a recipe.

    min_sources, max_sources: how many sources it merges, the base not counted (None: any number).
    ignored: parameters of mergekit's that change nothing about the merged weights; a reader drops them.
    skips_unweighted: a source that has no weight in a tensor makes no difference to it.
    by_choice: no source has a weight, so a search chooses which of them take part.
    draws: it draws random numbers, so a recipe's seed matters to it.
    """

    parameters: Mapping[str, Parameter]
    base: Base
    min_sources: int = 1
    max_sources: int | None = None
    ignored: tuple[str, ...] = ()
    skips_unweighted: bool = False
    by_choice: bool = False
    draws: bool = False

    @property
    def needs_base(self) -> bool:
        """Whether a recipe must name a base model."""
        return self.base == "required"

    @property
    def reads_base(self) -> bool:
        """Whether a recipe may name a base model."""
        return self.base in ("required", "optional")

    @property
    def genes(self) -> Mapping[str, Searched]:
        """The parameters that a search varies."""
        return {name: parameter.gene for name, parameter in self.parameters.items() if parameter.gene is not None}


_SHARE = Range(0, 1)
_NOT_NEGATIVE = Range(0)
_POSITIVE = Range(0, low_is_open=True)

_RATIO = Parameter(per_source=True, gene=Searched(0, 1))  # only the ratio of these weights counts
# Above 1 a task vector is amplified, which merges of weak specialists profit from.
_SCALE = Parameter(per_source=True, gene=Searched(0, 1.5))
# A density near 0 leaves next to nothing of a task vector, and rescaling by its inverse turns the rest into noise.
_DENSITY = Parameter(1.0, per_source=True, allowed=_SHARE, gene=Searched(0.1, 1))
_GAMMA = Parameter(0.01, per_source=True, allowed=_SHARE, gene=Searched(0, 1, unit=0.1))
_EPSILON = Parameter(0.15, per_source=True, allowed=_SHARE, gene=Searched(0, 0.4))
_T = Parameter(allowed=_SHARE, gene=Searched(0, 1))
_OFF = Parameter(0.0, "switch")
_ON = Parameter(1.0, "switch")


def _task_vectors(*, normalize: bool, rescale: bool, draws: bool = False, **sparsified_by: Parameter) -> Method:
    """A method of mergekit's generalised task arithmetic; the search leaves the scale to the weights."""
    parameters = {
        "weight": _SCALE,
        **sparsified_by,
        "normalize": Parameter(float(normalize), "switch", searched_as=0.0),
        "lambda": Parameter(1.0),
    }
    if sparsified_by:
        parameters["rescale"] = Parameter(float(rescale), "switch")
    unread = () if sparsified_by else ("density", "rescale")
    ignored = ("int8_mask", *unread)
    return Method(MappingProxyType(parameters), "required", ignored=ignored, skips_unweighted=True, draws=draws)


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "linear": Method({"weight": _RATIO, "normalize": _ON}, "ignored", skips_unweighted=True),
        "slerp": Method({"t": _T}, "first", 2, 2),
        "nuslerp": Method({"weight": _RATIO, "nuslerp_row_wise": _OFF, "nuslerp_flatten": _ON}, "optional", 2, 2),
        "multislerp": Method(
            {"weight": _RATIO, "normalize_weights": _ON, "eps": Parameter(1e-8, allowed=_NOT_NEGATIVE)}, "optional"
        ),
        "karcher": Method(
            {
                "max_iter": Parameter(10.0, "count", allowed=_NOT_NEGATIVE),
                "tol": Parameter(1e-5, allowed=_POSITIVE),
            },
            "ignored",
            by_choice=True,
        ),
        "task_arithmetic": _task_vectors(normalize=False, rescale=False),
        "ties": _task_vectors(normalize=True, rescale=False, density=_DENSITY),
        "dare_linear": _task_vectors(normalize=False, rescale=True, draws=True, density=_DENSITY),
        "dare_ties": _task_vectors(normalize=False, rescale=True, draws=True, density=_DENSITY),
        "della": _task_vectors(normalize=True, rescale=True, draws=True, density=_DENSITY, epsilon=_EPSILON),
        "della_linear": _task_vectors(normalize=False, rescale=True, draws=True, density=_DENSITY, epsilon=_EPSILON),
        "breadcrumbs": _task_vectors(normalize=False, rescale=False, density=_DENSITY, gamma=_GAMMA),
        "breadcrumbs_ties": _task_vectors(normalize=False, rescale=False, density=_DENSITY, gamma=_GAMMA),
        "sce": Method(
            {"select_topk": Parameter(1.0, allowed=_SHARE, gene=Searched(0.1, 1))}, "required", ignored=("int8_mask",)
        ),
        "model_stock": Method(
            {"filter_wise": Parameter(0.0, "switch", gene=Searched(0, 1))}, "required", 2, by_choice=True
        ),
        # Weights of today's models are some hundredths, and differ by less: so do useful thresholds.
        "nearswap": Method({"t": Parameter(allowed=_NOT_NEGATIVE, gene=Searched(0, 1, unit=0.01))}, "first", 2, 2),
        "arcee_fusion": Method({}, "first", 2, 2, by_choice=True),
        "ram": Method({"epsilon": Parameter(1e-5, allowed=_NOT_NEGATIVE, gene=Searched(0, 1, unit=0.001))}, "required"),
        "ramplus_tl": Method(
            {
                "r": Parameter(0.1, allowed=_NOT_NEGATIVE, gene=Searched(0, 1)),
                "alpha": Parameter(0.2, allowed=_NOT_NEGATIVE, gene=Searched(0, 1)),
                "epsilon": Parameter(1e-5, allowed=_POSITIVE),
            },
            "required",
        ),
        # Its one source leaves nothing to mix; a search lays paths through layers of several (merging.paths), each
        # with its scale.
        "passthrough": Method({"scale": Parameter(1.0, per_source=True)}, "ignored", 1, 1),
    }
)

SEARCHED = tuple(name for name, method in METHODS.items() if method.genes or method.by_choice)
"""The methods that have something to search."""


def resolved(method: str, given: Mapping[str, Sequence[float]], sources: int) -> dict[str, tuple[float, ...]]:
    """Every parameter's values for one tensor, a value per source or a single one; defaults where none is given."""
    values = {}
    for name, parameter in METHODS[method].parameters.items():
        row = tuple(given.get(name, () if parameter.default is None else (parameter.default,) * sources))
        wanted = sources if parameter.per_source else 1
        if name not in given and parameter.default is not None:
            row = row[:wanted]
        if len(row) != wanted:
            raise MergingError(f"parameters.{name}: got {len(row)} values: {method} needs {wanted}")
        values[name] = row
    return values


def check_values(method: str, values: Mapping[str, Sequence[float]], where: str) -> None:
    """Refuse values that a method cannot merge one tensor with; `where` names the tensors in the message.

    values: of every parameter, as `resolved` gives them.
    """
    for name, row in values.items():
        for value in row:
            fault = METHODS[method].parameters[name].fault(value)
            if fault is not None:
                raise MergingError(f"parameters.{name}: got {value}: {fault}")
    if _divides_by_weights(method, values) and abs(math.fsum(values["weight"])) < NO_SUM:
        raise MergingError(f"parameters.weight: got {list(values['weight'])} for {where}: their sum must not be 0")
    if "epsilon" in values and "density" in values:
        for density, epsilon in zip(values["density"], values["epsilon"], strict=True):
            if 0 < density < 1 and not epsilon < min(density, 1 - density):
                wanted = f"with density {density:g} it must be below {min(density, 1 - density):g}"
                raise MergingError(f"parameters.epsilon: got {epsilon} for {where}: {wanted}")


def _divides_by_weights(method: str, values: Mapping[str, Sequence[float]]) -> bool:
    switch = {"linear": "normalize", "multislerp": "normalize_weights"}.get(method)
    return switch is not None and values[switch] == (1.0,)

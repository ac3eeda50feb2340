"""The whole description of one merge: immutable, checked when it is made, and named by its digest."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from merging.errors import MergingError
from merging.groups import Groups

__all__ = ["DTYPES", "METHODS", "Groups", "Method", "Parameters", "Recipe", "SourceRef"]

DTYPES = ("float32", "bfloat16", "float16")

Parameters = tuple[tuple[str, tuple[tuple[float, ...], ...]], ...]


@dataclass(frozen=True, order=True)
class SourceRef:
    """One Hub repo at one commit."""

    repo: str
    sha: str

    def __str__(self) -> str:
        return f"{self.repo}@{self.sha}"


@dataclass(frozen=True)
class Method:
    """What a merge method asks of a recipe.

    parameters: name → whether it has one row per source (else a single row for all of them).
    """

    parameters: Mapping[str, bool]
    needs_base: bool
    min_sources: int = 1
    max_sources: int | None = None


_WEIGHT = MappingProxyType({"weight": True})
_WEIGHT_DENSITY = MappingProxyType({"density": True, "weight": True})

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "linear": Method(_WEIGHT, needs_base=False),
        "slerp": Method(MappingProxyType({"t": False}), needs_base=False, min_sources=2, max_sources=2),
        "task_arithmetic": Method(_WEIGHT, needs_base=True),
        "ties": Method(_WEIGHT_DENSITY, needs_base=True),
        "dare_linear": Method(_WEIGHT_DENSITY, needs_base=True),
        "dare_ties": Method(_WEIGHT_DENSITY, needs_base=True),
    }
)

_RANGES: Mapping[str, tuple[str, Callable[[float], bool]]] = MappingProxyType(
    {
        "weight": ("a finite number", math.isfinite),
        "density": ("above 0 and at most 1", lambda value: 0 < value <= 1),
        "t": ("between 0 and 1", lambda value: 0 <= value <= 1),
    }
)


@dataclass(frozen=True)
class Recipe:
    """One merge.

    sources: what is merged, in order (slerp goes from the first, t = 0, to the second, t = 1).
    base: what the task vectors are differences from; None for methods that have none.
    parameters: sorted by name; each is (name, rows): a row per source (one row for slerp's "t"), and in it a
        value per group.
    dtype: of the live model and of the release; the sums themselves are done in float32.
    seed: of DARE's draws; other methods do not read it.
    """

    method: str
    sources: tuple[SourceRef, ...]
    base: SourceRef | None
    groups: Groups
    parameters: Parameters
    dtype: str
    seed: int

    def __post_init__(self) -> None:
        # Adding 0.0 turns an int into a float and -0.0 into 0.0: equal recipes must have equal digests.
        numbers = tuple(
            (name, tuple(tuple(value + 0.0 for value in row) for row in rows)) for name, rows in sorted(self.parameters)
        )
        object.__setattr__(self, "parameters", numbers)
        _check_method(self)
        _check_parameters(self)

    @classmethod
    def single(cls, source: SourceRef, groups: Groups, dtype: str) -> Recipe:
        """The recipe that gives a source back unchanged."""
        weights = ((1.0,) * len(groups.labels),)
        return cls("linear", (source,), None, groups, (("weight", weights),), dtype, 0)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the recipe's canonical JSON."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @cached_property
    def origins(self) -> tuple[SourceRef, ...]:
        """Every checkpoint that the merge reads: the base, if any, then the sources."""
        return self.sources if self.base is None else (self.base, *self.sources)

    def values(self, parameter: str, tensor_name: str) -> tuple[float, ...]:
        """A parameter's values for one tensor, one per source (a single one for slerp's "t")."""
        group = self.groups.of(tensor_name)
        return tuple(row[group] for row in dict(self.parameters)[parameter])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; from_json reads them back to an equal recipe."""
        return {
            "method": self.method,
            "sources": [asdict(source) for source in self.sources],
            "base": None if self.base is None else asdict(self.base),
            "groups": {
                "layers": self.groups.layers,
                "bands": [list(band) for band in self.groups.bands],
                "modules_apart": self.groups.modules_apart,
                "ends_apart": self.groups.ends_apart,
                "attention": list(self.groups.attention),
            },
            "parameters": {name: [list(row) for row in rows] for name, rows in self.parameters},
            "dtype": self.dtype,
            "seed": self.seed,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Recipe:
        """Read what to_json wrote; anything else raises MergingError."""
        try:
            groups = data["groups"]
            return cls(
                method=data["method"],
                sources=tuple(SourceRef(**source) for source in data["sources"]),
                base=None if data["base"] is None else SourceRef(**data["base"]),
                groups=Groups(
                    layers=groups["layers"],
                    bands=tuple((start, end) for start, end in groups["bands"]),
                    modules_apart=groups["modules_apart"],
                    ends_apart=groups["ends_apart"],
                    attention=tuple(groups["attention"]),
                ),
                parameters=tuple(
                    (name, tuple(tuple(row) for row in rows)) for name, rows in data["parameters"].items()
                ),
                dtype=data["dtype"],
                seed=data["seed"],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MergingError(f"recipe: not as shoal writes it ({type(error).__name__}: {error})") from error


def _check_method(recipe: Recipe) -> None:
    method = METHODS.get(recipe.method)
    if method is None:
        raise MergingError(f"method: got {recipe.method!r}: use one of {', '.join(METHODS)}")
    if recipe.dtype not in DTYPES:
        raise MergingError(f"dtype: got {recipe.dtype!r}: use one of {', '.join(DTYPES)}")
    most = method.max_sources or len(recipe.sources)
    if not method.min_sources <= len(recipe.sources) <= most:
        wanted = f"exactly {most}" if method.max_sources else f"at least {method.min_sources}"
        raise MergingError(f"sources: got {len(recipe.sources)}: {recipe.method} needs {wanted}")
    if method.needs_base and recipe.base is None:
        raise MergingError(f"base: got none: {recipe.method} merges differences from a base model, name it")
    if not method.needs_base and recipe.base is not None:
        raise MergingError(f"base: got {recipe.base}: {recipe.method} does not read one, leave it out")
    if len(set(recipe.origins)) != len(recipe.origins):
        raise MergingError(f"sources: got {', '.join(map(str, recipe.origins))}: name each model once")


def _check_parameters(recipe: Recipe) -> None:
    expected = METHODS[recipe.method].parameters
    if [name for name, _ in recipe.parameters] != sorted(expected):
        given = ", ".join(name for name, _ in recipe.parameters) or "none"
        raise MergingError(f"parameters: got {given}: {recipe.method} takes {', '.join(sorted(expected))}")
    for name, rows in recipe.parameters:
        height = len(recipe.sources) if expected[name] else 1
        width = len(recipe.groups.labels)
        if len(rows) != height or any(len(row) != width for row in rows):
            shape = f"rows of {', '.join(str(len(row)) for row in rows)} values"
            raise MergingError(f"parameters.{name}: got {shape}: {height} rows of {width} groups are needed")
        _check_range(name, rows)
        if recipe.method == "linear":
            _check_sums(recipe.groups.labels, rows)


def _check_range(name: str, rows: Sequence[Sequence[float]]) -> None:
    wanted, fits = _RANGES[name]
    for row in rows:
        for value in row:
            if not fits(value):
                raise MergingError(f"parameters.{name}: got {value}: it must be {wanted}")


def _check_sums(labels: Sequence[str], rows: Sequence[Sequence[float]]) -> None:
    for group, label in enumerate(labels):
        # Weights are divided by their sum, so a sum near zero would blow rounding up into the weights.
        if abs(sum(row[group] for row in rows)) < 1e-6:
            values = [row[group] for row in rows]
            raise MergingError(f"parameters.weight: got {values} for {label}: their sum must not be 0")

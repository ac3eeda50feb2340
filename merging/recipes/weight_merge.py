"""The whole description of one merge: immutable, checked when it is made, and named by its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from merging.errors import MergingError
from merging.method_specs import METHODS, Method, check_values
from merging.partition import Partition

__all__ = ["DTYPES", "METHODS", "Method", "ModelId", "Parameters", "Partition", "WeightMerge"]

DTYPES = ("float32", "bfloat16", "float16")

Parameters = tuple[tuple[str, tuple[tuple[float, ...], ...]], ...]


@dataclass(frozen=True, order=True)
class ModelId:
    """One Hub repo at one commit."""

    repo: str
    sha: str

    def __str__(self) -> str:
        return f"{self.repo}@{self.sha}"


@dataclass(frozen=True)
class WeightMerge:
    """One merge.

    sources: what is merged, in order (slerp goes from the first, t = 0, to the second, t = 1).
    base: what the task vectors are differences from; None for methods that have none.
    parameters: sorted by name; each is (name, rows): a row per source (one row for what all share, as slerp's
        "t"), and in it a value per group. Parameters that have their default everywhere are left out.
    dtype: of the live model and of the release; the sums themselves are done in float32.
    seed: of the draws of methods that draw; others do not read it.
    """

    method: str
    sources: tuple[ModelId, ...]
    base: ModelId | None
    groups: Partition
    parameters: Parameters
    dtype: str
    seed: int

    def __post_init__(self) -> None:
        # Equal recipes must have equal digests: adding 0.0 turns an int into a float and -0.0 into 0.0.
        numbers = tuple(
            (name, tuple(tuple(value + 0.0 for value in row) for row in rows)) for name, rows in sorted(self.parameters)
        )
        object.__setattr__(self, "parameters", numbers)
        _check_method(self)
        _check_parameters(self)
        told = tuple((name, rows) for name, rows in numbers if not _is_default(self.method, name, rows))
        object.__setattr__(self, "parameters", told)

    @classmethod
    def single(cls, source: ModelId, groups: Partition, dtype: str) -> WeightMerge:
        """The recipe that gives a source back unchanged."""
        weights = ((1.0,) * len(groups.labels),)
        return cls("linear", (source,), None, groups, (("weight", weights),), dtype, 0)

    @property
    def is_single(self) -> bool:
        """Whether it gives a source back unchanged."""
        return self == WeightMerge.single(self.sources[0], self.groups, self.dtype)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the recipe's canonical JSON."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @cached_property
    def origins(self) -> tuple[ModelId, ...]:
        """Every checkpoint that the merge reads: the base, if any, then the sources."""
        return self.sources if self.base is None else (self.base, *self.sources)

    def values(self, parameter: str, tensor_name: str) -> tuple[float, ...]:
        """A parameter's values for one tensor, one per source (a single one where all share it)."""
        group = self.groups.of(tensor_name)
        return tuple(row[group] for row in self.rows(parameter))

    def rows(self, parameter: str) -> tuple[tuple[float, ...], ...]:
        """A parameter's rows, one per source (a single one where all share it); defaults where it is left out."""
        return self._every_row[parameter]

    @cached_property
    def _every_row(self) -> Mapping[str, tuple[tuple[float, ...], ...]]:
        width, told = len(self.groups.labels), dict(self.parameters)
        return {
            name: told.get(name)
            or ((parameter.default or 0.0,) * width,) * (len(self.sources) if parameter.per_source else 1)
            for name, parameter in METHODS[self.method].parameters.items()
        }

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
    def from_json(cls, data: Mapping[str, Any]) -> WeightMerge:
        """Read what to_json wrote; anything else raises MergingError."""
        try:
            groups = data["groups"]
            return cls(
                method=data["method"],
                sources=tuple(ModelId(**source) for source in data["sources"]),
                base=None if data["base"] is None else ModelId(**data["base"]),
                groups=Partition(
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


def _check_method(recipe: WeightMerge) -> None:
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
    if not method.reads_base and recipe.base is not None:
        raise MergingError(f"base: got {recipe.base}: {recipe.method} does not read one, leave it out")
    if len(set(recipe.origins)) != len(recipe.origins):
        raise MergingError(f"sources: got {', '.join(map(str, recipe.origins))}: name each model once")


def _check_parameters(recipe: WeightMerge) -> None:
    expected = METHODS[recipe.method].parameters
    given = [name for name, _ in recipe.parameters]
    needed = {name for name, parameter in expected.items() if parameter.default is None}
    if not needed <= set(given) <= set(expected) or len(set(given)) != len(given):
        takes = ", ".join(sorted(expected)) or "none"
        raise MergingError(f"parameters: got {', '.join(given) or 'none'}: {recipe.method} takes {takes}")
    width = len(recipe.groups.labels)
    for name, rows in recipe.parameters:
        height = len(recipe.sources) if expected[name].per_source else 1
        if len(rows) != height or any(len(row) != width for row in rows):
            shape = f"rows of {', '.join(str(len(row)) for row in rows)} values"
            raise MergingError(f"parameters.{name}: got {shape}: {height} rows of {width} groups are needed")
    for group, label in enumerate(recipe.groups.labels):
        values = {name: tuple(row[group] for row in recipe.rows(name)) for name in expected}
        check_values(recipe.method, values, label)


def _is_default(method: str, name: str, rows: tuple[tuple[float, ...], ...]) -> bool:
    default = METHODS[method].parameters[name].default
    return default is not None and all(value == default for row in rows for value in row)

"""One merge, one set of values: what a method's values come to where some of them make no difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gcd

from merging.method_specs import METHODS

Rows = tuple[tuple[float, ...], ...]
"""[source][group] (a single row for what all sources share)."""

RATIOS = frozenset({"linear", "nuslerp", "multislerp"})
"""Methods of which only the ratio of the weights counts."""

BETWEEN = frozenset({"slerp", "nearswap"})
"""Methods that go from the first source to the second by "t"."""

BY_ELEMENT = frozenset({"sce", "ram", "ramplus_tl"})
"""Methods that no source has a weight in."""


def task_vector_rows(method: str, rows: Mapping[str, Rows], step: float) -> tuple[list[int], dict[str, Rows]]:
    """The sources that have a weight, and their rows.

    What thins out a source without weight, or refines a density of 1, has its default. Where epsilon would leave no
    room between density and 0 or 1 it is the largest number of steps that does.
    """
    used = [source for source, row in enumerate(rows["weight"]) if any(row)]
    kept: dict[str, list[tuple[float, ...]]] = {name: [] for name in rows}
    for source in used:
        columns = [
            _sparsified(method, {name: table[source][group] for name, table in rows.items()}, step)
            for group in range(len(rows["weight"][source]))
        ]
        for name, table in kept.items():
            table.append(tuple(column[name] for column in columns))
    return used, {name: tuple(table) for name, table in kept.items()}


def by_element_rows(method: str, rows: Mapping[str, Rows]) -> dict[str, Rows]:
    """Rows of a method without weights; in RAM+ a scale of zero is RAM, whatever its limit is."""
    if method != "ramplus_tl":
        return dict(rows)
    pairs = zip(rows["r"][0], rows["alpha"][0], strict=True)
    limit = METHODS[method].parameters["alpha"].default or 0.0
    columns = [(r, alpha) if r and alpha else (0.0, limit) for r, alpha in pairs]
    return {"r": (tuple(r for r, _ in columns),), "alpha": (tuple(alpha for _, alpha in columns),)}


def largest_ratio(weights: Sequence[int], most: int) -> tuple[int, ...]:
    """The largest whole numbers up to `most` with the same ratios; equal ones where all weights are zero."""
    divisor = gcd(*weights)
    if divisor == 0:
        return (most,) * len(weights)
    factor = most // (max(weights) // divisor)
    return tuple(weight // divisor * factor for weight in weights)


def _sparsified(method: str, values: dict[str, float], step: float) -> dict[str, float]:
    """One source's values in one group."""
    parameters = METHODS[method].parameters
    if "density" not in values:
        return values
    if values["weight"] == 0:
        values = {**values, "density": 1.0}
    density = values["density"]
    for name in values.keys() & {"gamma", "epsilon"} if density == 1 else ():
        values = {**values, name: parameters[name].default or 0.0}
    if "epsilon" in values and density < 1:
        room = min(density, 1 - density)
        steps = max(0, -(-round(room / step, 6) // 1) - 1)
        values = {**values, "epsilon": min(values["epsilon"], round(steps * step, 9))}
    return values

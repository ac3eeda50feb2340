"""A recipe as the YAML that mergekit reads: the field's common language for a merge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from merging.errors import MergingError
from merging.groups import place_of
from merging.recipe import METHODS, Recipe, SourceRef

# A group for the tensors whose name contains the filter; None matches all. The first that matches counts.
Condition = tuple[str | None, int]

_DARE_NOTE = (
    "# mergekit draws DARE's random masks from a generator of its own, and rescales by the norm:\n"
    "# it makes a merge like this one, not the same bytes.\n"
)


def to_mergekit_yaml(recipe: Recipe, tensor_names: Iterable[str], names: Mapping[SourceRef, str] | None = None) -> str:
    """A configuration whose merge by mergekit equals ours, for the methods that draw no random numbers.

    tensor_names: the checkpoint's; mergekit tells modules apart by parts of tensor names.
    names: what to call a source instead of "repo@sha", such as a folder.
    MergingError if the names do not allow the recipe's groups to be told apart.
    """
    call = {origin: (names or {}).get(origin, str(origin)) for origin in recipe.origins}
    config: dict[str, Any] = {
        "merge_method": recipe.method,
        # Where a method reads no base, mergekit still takes the config and the tokenizer from it.
        "base_model": call[recipe.origins[0]],
        "dtype": "float32",
        "out_dtype": recipe.dtype,
    }
    if recipe.base is not None:
        config["parameters"] = {"normalize": False, "int8_mask": False, "lambda": 1.0}
    if all(len(set(row)) == 1 for _, rows in recipe.parameters for row in rows):
        everywhere: list[Condition] = [(None, 0)]
        config["models"] = _inputs(recipe, everywhere, call, {})
        _add_shared(config, recipe, everywhere)
    else:
        config["slices"] = [
            _slice(recipe, band, conditions, call) for band, conditions in enumerate(_filters(recipe, tensor_names))
        ]
    note = _DARE_NOTE if recipe.method.startswith("dare_") else ""
    return note + yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def _slice(recipe: Recipe, band: int, conditions: Sequence[Condition], call: Mapping[SourceRef, str]) -> dict[str, Any]:
    place = {"layer_range": list(recipe.groups.bands[band])}
    layers: dict[str, Any] = {"sources": _inputs(recipe, conditions, call, place)}
    if recipe.base is not None:
        layers["sources"].append({"model": call[recipe.base], **place})
    _add_shared(layers, recipe, conditions)
    return layers


def _inputs(
    recipe: Recipe, conditions: Sequence[Condition], call: Mapping[SourceRef, str], place: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The sources, each with its own values of the parameters that go by source."""
    inputs = []
    for index, source in enumerate(recipe.sources):
        own = {
            name: _setting(rows[index], conditions)
            for name, rows in recipe.parameters
            if METHODS[recipe.method].parameters[name]
        }
        inputs.append({"model": call[source], **place, **({"parameters": own} if own else {})})
    return inputs


def _add_shared(target: dict[str, Any], recipe: Recipe, conditions: Sequence[Condition]) -> None:
    """Add the parameters that all sources share, slerp's "t"."""
    for name, rows in recipe.parameters:
        if not METHODS[recipe.method].parameters[name]:
            target.setdefault("parameters", {})[name] = _setting(rows[0], conditions)


def _setting(row: Sequence[float], conditions: Sequence[Condition]) -> float | list[dict[str, Any]]:
    values = [row[group] for _, group in conditions]
    if len(set(values)) == 1:
        return values[0]
    return [
        {"value": value} if part is None else {"filter": part, "value": value}
        for (part, _), value in zip(conditions, values, strict=True)
    ]


def _filters(recipe: Recipe, tensor_names: Iterable[str]) -> list[list[Condition]]:
    """The conditions of each band's slice, tried on every tensor name before they are trusted.

    mergekit resolves the tensors before the layers in the first slice, and those behind them in the last.
    """
    groups, tensors = recipe.groups, tuple(tensor_names)
    last = len(groups.bands) - 1
    found = [_conditions(recipe, band, tensors) for band in range(last + 1)]
    for name in tensors:
        place = place_of(name)
        if place.layer is None:
            band = 0 if place.is_embedding else last
        else:
            band = next(band for band, (_, end) in enumerate(groups.bands) if place.layer < end)
        group = next(group for part, group in found[band] if part is None or part in name)
        if group != groups.of(name):
            raise MergingError(f"tensor {name}: mergekit's filters cannot tell its group from others")
    return found


def _conditions(recipe: Recipe, band: int, tensors: Sequence[str]) -> list[Condition]:
    groups = recipe.groups
    rest = groups.of_block(band, attention=False)
    conditions: list[Condition] = []
    if groups.modules_apart:
        inside = {place_of(name).component for name in tensors}
        attention = groups.of_block(band, attention=True)
        conditions += [(f".{part}.", attention) for part in groups.attention if part in inside]
    is_first, is_last = band == 0, band == len(groups.bands) - 1
    if not groups.ends_apart or not (is_first or is_last):
        return [*conditions, (None, rest)]
    stacks = {place.stack for place in map(place_of, tensors) if place.layer is not None}
    conditions += [(f"{stack}.", rest) for stack in sorted(stacks)]
    if is_first and is_last:
        embeddings = [name for name in tensors if place_of(name).is_embedding]
        conditions += [(name, groups.of(name)) for name in embeddings]
    return [*conditions, (None, len(groups.labels) - 1 if is_last else 0)]

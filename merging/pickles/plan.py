"""Decides what is written of pickled weights, from what their pickles say: each tensor once, and no old buffers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from merging.dtypes import BITS
from merging.errors import MergingError
from merging.models.building import build_schema
from merging.models.schema import ModelSchema
from merging.pickles.program import PickledTensor
from merging.sources.family import TensorHeader, is_mask_buffer

Plan = Mapping[str, tuple[TensorHeader, ...]]
"""What is written of each pickle: its name → the tensors' headers, in the order of writing."""


_TIES_NOTHING = ModelSchema("", "", {}, frozenset(), {}, frozenset(), None)


def plan_conversion(
    config: Mapping[str, object] | None, files: Mapping[str, Mapping[str, PickledTensor]], label: str
) -> Plan:
    """Choose the tensors to write, each once: a tied weight under the name that transformers keeps, no old buffers.

    config: the content of config.json; None for an adapter, which ties nothing. files: name of each pickle → its
    tensors. label: name of the model in errors.
    MergingError for tensors that share memory without being tied, or are in two files.
    """
    schema = _TIES_NOTHING if config is None else build_schema(config, label)
    plan: dict[str, tuple[TensorHeader, ...]] = {}
    places: dict[str, str] = {}
    for file, tensors in sorted(files.items()):
        chosen = _choose(schema, file, tensors)
        for header in chosen:
            if (other := places.setdefault(header.name, file)) != file:
                raise MergingError(f"{file}: tensor {header.name} is in {other} too")
        # The widest values first, so that each tensor's place in the file is a multiple of its values' size.
        plan[file] = tuple(sorted(chosen, key=lambda header: (-BITS[header.dtype], header.name)))
    return plan


def _choose(schema: ModelSchema, file: str, tensors: Mapping[str, PickledTensor]) -> list[TensorHeader]:
    by_storage: dict[str, list[TensorHeader]] = {}
    for name, tensor in tensors.items():
        old_buffer = is_mask_buffer(tensor.header) or (schema.ignored and re.search(schema.ignored, name))
        if _place(schema, name) in schema.shapes or not old_buffer:
            by_storage.setdefault(tensor.storage, []).append(tensor.header)
    return [_choose_name(schema, file, headers) for headers in by_storage.values()]


def _choose_name(schema: ModelSchema, file: str, headers: list[TensorHeader]) -> TensorHeader:
    """Of a storage's names, the one to which the others are tied."""
    places = {header: _place(schema, header.name) for header in headers}
    if len({schema.tied.get(place, place) for place in places.values()}) > 1:
        one, other, *_ = sorted(header.name for header in headers)
        raise MergingError(f"{file}: {one} and {other} share their memory, and the config does not tie them")
    return min(headers, key=lambda header: (places[header] in schema.tied, header.name))


def _place(schema: ModelSchema, name: str) -> str:
    """The name in the schema: files of a model without its head lack the beginning of its names."""
    return name if name in schema.shapes else f"{schema.prefix}.{name}"

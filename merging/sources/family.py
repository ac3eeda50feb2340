"""Decides from headers alone whether two checkpoints are of one family."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from merging.dtypes import NAMES
from merging.tensor_names import parse_name


@dataclass(frozen=True)
class TensorHeader:
    """A tensor's entry in a safetensors header. dtype: its safetensors code, such as "BF16"."""

    name: str
    shape: tuple[int, ...]
    dtype: str


_MASK = re.compile(r"(?:^|\.)(?:cross)?att(?:n|ention)(?:\.attention)?\.(?P<kind>bias|masked_bias)")


def is_mask_buffer(header: TensorHeader) -> bool:
    """Whether a tensor is the causal mask, or the value of what it hides, that old versions of transformers saved."""
    found = _MASK.search(header.name)
    if found is None or found.end() != len(header.name):
        return False
    square = len(header.shape) == 4 and header.shape[:2] == (1, 1) and header.shape[2] == header.shape[3]
    return square if found["kind"] == "bias" else math.prod(header.shape) == 1


def family_mismatch(reference: Mapping[str, TensorHeader], other: Mapping[str, TensorHeader]) -> str | None:
    """The reason why `other` cannot be merged with `reference`, in a few words; None if it can.

    Both are tensor name → header, from files or from the Hub. The same names and the same shapes are needed.
    Floating-point dtypes may differ, since merges accumulate in float32; quantised ones are refused. Causal masks that
    old versions of transformers saved do not count.
    """
    reference, other = _weights(reference), _weights(other)
    layers, reference_layers = _layers(other), _layers(reference)
    if layers != reference_layers:
        return f"it has {layers} layers instead of {reference_layers}"
    if missing := sorted(reference.keys() - other.keys()):
        return f"it lacks {_first_of(missing)}"
    if extra := sorted(other.keys() - reference.keys()):
        return f"it has {_first_of(extra)} too many"
    for name, header in sorted(other.items()):
        if header.dtype not in NAMES:
            return f"tensor {name} is of dtype {header.dtype}, which cannot be merged"
        if header.shape != reference[name].shape:
            return f"tensor {name} is {_size(header.shape)}, not {_size(reference[name].shape)}"
    return None


def _weights(headers: Mapping[str, TensorHeader]) -> dict[str, TensorHeader]:
    return {name: header for name, header in headers.items() if not is_mask_buffer(header)}


def _layers(headers: Mapping[str, TensorHeader]) -> int:
    return len({place.layer for place in map(parse_name, headers) if place.layer is not None})


def _first_of(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"tensor {names[0]}{more}"


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a single number"

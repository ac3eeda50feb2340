"""The one table of dtypes: their names, their codes in safetensors files, their sizes, and what can be merged."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16")
"""Names of the dtypes that a merge may be written in."""

CODES: Mapping[str, str] = MappingProxyType({"float64": "F64", "float32": "F32", "bfloat16": "BF16", "float16": "F16"})
"""Name → safetensors code of the dtypes that can be merged; the others are quantised, or hold no weights at all."""

NAMES: Mapping[str, str] = MappingProxyType({code: name for name, code in CODES.items()})
"""Safetensors code → name of the dtypes that can be merged."""

# Dtypes of less than a byte are part of the format: they are listed, though never merged.
BITS: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
        **dict.fromkeys(("F32", "I32", "U32"), 32),
        **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
        **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
        **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
        "F4": 4,
    }
)
"""Safetensors code → bits of an element, for every dtype of the format."""


def element_bytes(name: str) -> int:
    """Bytes of an element of a dtype that can be merged, by its name."""
    return BITS[CODES[name]] // 8


def torch_dtype(name: str) -> torch.dtype:
    """The torch dtype of a name; torch is imported only here, because checks of watchlists do without it."""
    import torch

    found = getattr(torch, name)
    assert isinstance(found, torch.dtype)
    return found

"""A model's safetensors files, opened lazily: headers are read and checked, tensors stay in the files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from merging.dtypes import BITS, NAMES, torch_dtype
from merging.errors import MergingError
from merging.sources.family import TensorHeader
from merging.sources.weights import Weights

MAX_HEADER_BYTES = 100_000_000  # the format's own limit
INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"

_FINITE_CHUNK = 1 << 22
"""Elements looked at together: a shorter piece costs more in starting threads than in reading."""


class Checkpoint(Weights):
    """One model's weights, in one safetensors file or in shards; tensors are views of the mapped files."""

    def __init__(self, folder: Path, headers: Mapping[str, TensorHeader], files: Mapping[str, Path]) -> None:
        """Use Checkpoint.open. headers and files are by tensor name."""
        super().__init__(folder, headers)
        self._files = files
        self._handles: dict[Path, Any] = {}
        self._tensors: dict[str, Tensor] = {}

    @classmethod
    def open(cls, folder: Path, single: str = SINGLE_NAME, index: str = INDEX_NAME) -> Checkpoint:
        """Read and check the headers of a folder's weights; MergingError names the file that is wrong.

        single, index: the name of its one file, or of the index of its shards.
        """
        shards = _shards(folder, single, index)
        headers: dict[str, TensorHeader] = {}
        files: dict[str, Path] = {}
        for path, listed in shards.items():
            found = read_headers(path)
            if listed is not None and listed != found.keys():
                odd = min(listed ^ found.keys())
                raise MergingError(f"{path}: {_misplaced(odd, found, shards)}")
            headers |= found
            files |= dict.fromkeys(found, path)
        return cls(folder, headers, files)

    def tensor(self, name: str) -> Tensor:
        """A tensor as a view of the mapped file: nothing is copied, and it must not be written to."""
        if name not in self._tensors:
            self.header(name)
            self._tensors[name] = self._read(self._files[name], name)
        return self._tensors[name]

    def verify(self) -> None:
        """Read every weight: MergingError names file and tensor if one is not finite or not as its header."""
        for name, header in self.headers.items():
            path, tensor = self._files[name], self.tensor(name)
            mergeable = NAMES.get(header.dtype)
            if tuple(tensor.shape) != header.shape or (mergeable and torch_dtype(mergeable) != tensor.dtype):
                raise MergingError(f"{path}: tensor {name} is {tuple(tensor.shape)} {tensor.dtype}, not as its header")
            if not is_finite(tensor):
                raise MergingError(f"{path}: tensor {name} holds NaN or infinite values")

    def _read(self, path: Path, name: str) -> Tensor:
        try:
            if path not in self._handles:
                self._handles[path] = safe_open(path, framework="pt")
            tensor: Tensor = self._handles[path].get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise MergingError(f"{path}: tensor {name} cannot be read ({error})") from error
        return tensor


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return all(_is_finite_part(part) for part in torch.split(tensor.reshape(-1), _FINITE_CHUNK))


def _is_finite_part(part: Tensor) -> bool:
    """By the extremes, which NaN spreads to: one pass over memory, where `isfinite` writes several copies."""
    if part.dtype.itemsize == 1:  # torch finds no extremes of 8-bit floats
        return bool(torch.isfinite(part.float()).all())
    return all(bool(extreme.isfinite()) for extreme in torch.aminmax(part))


def _misplaced(tensor: str, found: Mapping[str, TensorHeader], shards: Mapping[Path, set[str] | None]) -> str:
    """What a shard and the index say of a tensor that only one of them has there."""
    if tensor not in found:
        return f"the index gives tensor {tensor} to this file, which has none of that name"
    given = next((path.name for path, listed in shards.items() if tensor in (listed or ())), None)
    where = f"which the index gives to {given}" if given else "which the index does not list"
    return f"it holds tensor {tensor}, {where}: remove it from one of the two, or correct the index"


def read_headers(path: Path) -> dict[str, TensorHeader]:
    """Tensor name → header of one safetensors file, without its weights.

    MergingError, naming the file, for a header that is too long, not JSON or not as the format has it, for
    offsets that overlap, leave a gap or do not fit shape and dtype, and for a file cut short or too long.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(MAX_HEADER_BYTES, size - 8):
                limit = f"of a file of {size} bytes (limit {MAX_HEADER_BYTES})"
                raise MergingError(f"{path}: the header claims {length} bytes {limit}: not a complete safetensors file")
            entries = json.loads(file.read(length))
    except OSError as error:
        raise MergingError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise MergingError(f"{path}: its header is not JSON: not a safetensors file") from error
    if not isinstance(entries, dict):
        raise MergingError(f"{path}: its header is not a JSON object: not a safetensors file")
    spans = [_span(path, name, entry) for name, entry in entries.items() if name != "__metadata__"]
    _check_spans(path, spans, size - 8 - length)
    return {header.name: header for header, _, _ in spans}


def _span(path: Path, name: str, entry: Any) -> tuple[TensorHeader, int, int]:
    """A header's entry as (header, first byte, byte after the last), if it is consistent."""
    try:
        dtype, shape = entry["dtype"], tuple(entry["shape"])
        start, end = entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise MergingError(f"{path}: tensor {name} has no dtype, shape and offsets in the header") from error
    if not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
        raise MergingError(f"{path}: tensor {name} has a size or offset that is not a whole number")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise MergingError(f"{path}: tensor {name} has the unknown dtype {dtype!r}")
    if math.prod(shape) * BITS[dtype] != (end - start) * 8:
        raise MergingError(f"{path}: tensor {name}: {end - start} bytes do not hold {list(shape)} of {dtype}")
    return TensorHeader(name, shape, dtype), start, end


def _check_spans(path: Path, spans: list[tuple[TensorHeader, int, int]], data_bytes: int) -> None:
    """MergingError unless the tensors fill the file from the header to its end, without gaps or overlaps."""
    position = 0
    for header, start, end in sorted(spans, key=lambda span: span[1:]):
        if start != position:
            raise MergingError(f"{path}: tensor {header.name} starts at byte {start}, where {position} was due")
        position = end
    if position != data_bytes:
        raise MergingError(f"{path}: it holds {data_bytes} bytes of weights, its header says {position}")


def _shards(folder: Path, single: str, index_name: str) -> dict[Path, set[str] | None]:
    """Weight file of a folder → the tensor names that the index gives for it, None without an index."""
    if (folder / single).is_file():
        return {folder / single: None}
    index = folder / index_name
    try:
        weight_map = json.loads(index.read_bytes())["weight_map"]
        shards: dict[Path, set[str] | None] = {}
        for name, file_name in weight_map.items():
            # The index is untrusted: it may name files of its own folder, and no others.
            if Path(file_name).name != file_name or not file_name.endswith(".safetensors"):
                raise MergingError(f"{index}: tensor {name} is said to be in {file_name!r}: not a shard in its folder")
            shards[folder / file_name] = (shards.get(folder / file_name) or set()) | {name}
    except FileNotFoundError as error:
        raise MergingError(f"{folder}: it has neither {single} nor {index_name}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MergingError(f"{index}: not a safetensors index") from error
    if not shards:
        raise MergingError(f"{index}: it lists no tensor")
    return shards

"""Safetensors files written tensor by tensor: never more than one merged tensor in memory."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from merging.checkpoint import INDEX_NAME, SINGLE_NAME

_DTYPES = {"float32": ("F32", 4), "bfloat16": ("BF16", 2), "float16": ("F16", 2)}  # in the format; bytes
_ALIGNMENT = 8  # of the first weight in the file, as the format's own library has it


@dataclass(frozen=True)
class Shard:
    """One weight file: its name, and its tensors' names in the order in which they are written."""

    file_name: str
    tensors: tuple[str, ...]


def plan_shards(sizes: Mapping[str, int], max_bytes: int) -> tuple[Shard, ...]:
    """Share tensors (name → bytes) out to files of at most max_bytes; a larger one has a file of its own."""
    shares: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if shares[-1] and filled + size > max_bytes:
            shares.append([])
            filled = 0
        shares[-1].append(name)
        filled += size
    if len(shares) == 1:
        return (Shard(SINGLE_NAME, tuple(shares[0])),)
    return tuple(
        Shard(f"model-{number:05d}-of-{len(shares):05d}.safetensors", tuple(share))
        for number, share in enumerate(shares, start=1)
    )


def write_weights(
    folder: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: str,
    merge: Callable[[str], Tensor],
    max_shard_bytes: int,
) -> dict[str, str]:
    """Write the weights into a folder, with an index if there are several files; file name → SHA-256 (hex).

    shapes: tensor name → shape, in the order of writing. merge: gives a tensor of that shape in `dtype`.
    OSError as the file system raises it.
    """
    width = _DTYPES[dtype][1]
    sizes = {name: math.prod(shape) * width for name, shape in shapes.items()}
    shards = plan_shards(sizes, max_shard_bytes)
    hashes = {}
    for shard in shards:
        header = _header({name: shapes[name] for name in shard.tensors}, dtype)
        weights = (_bytes(merge(name)) for name in shard.tensors)
        hashes[shard.file_name] = write_file(folder / shard.file_name, chain([header], weights))
    if len(shards) > 1:
        hashes[INDEX_NAME] = write_file(folder / INDEX_NAME, [_index(shards, sum(sizes.values()))])
    return hashes


def write_file(path: Path, parts: Iterable[bytes]) -> str:
    """Write a new file and see it onto the disk; returns the SHA-256 (hex) of what was written."""
    digest = hashlib.sha256()
    with path.open("xb") as file:
        for part in parts:
            digest.update(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _header(shapes: Mapping[str, tuple[int, ...]], dtype: str) -> bytes:
    """The format's header: its length in 8 bytes, then JSON that gives each tensor its place in the data."""
    code, width = _DTYPES[dtype]
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, shape in shapes.items():
        end = position + math.prod(shape) * width
        entries[name] = {"dtype": code, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _index(shards: Sequence[Shard], total_size: int) -> bytes:
    weight_map = {name: shard.file_name for shard in shards for name in shard.tensors}
    index = {"metadata": {"total_size": total_size}, "weight_map": dict(sorted(weight_map.items()))}
    return (json.dumps(index, indent=2) + "\n").encode()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()

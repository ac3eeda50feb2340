"""Safetensors files written tensor by tensor while the next ones are merged: never more than a few in memory.

Each tensor is merged in a thread of its own, so that reading (page faults of mapped sources), arithmetic, hashing and
writing overlap; the bytes depend on nothing but the tensors and their order.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from merging.checkpoint import INDEX_NAME, SINGLE_NAME

_DTYPES = {"float32": ("F32", 4), "bfloat16": ("BF16", 2), "float16": ("F16", 2)}  # in the format; bytes
_ALIGNMENT = 8  # of the first weight in the file, as the format's own library has it
_FLUSH_BYTES = 1 << 27  # written between two requests to see them onto the disk


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

    shapes: tensor name → shape, in the order of writing. merge: gives a tensor of that shape in `dtype`; it is called
    from as many threads as torch may use here, each with one of torch's own. Merged tensors that wait to be written
    take at most twice the memory of the largest one. OSError as the file system raises it.
    """
    width = _DTYPES[dtype][1]
    sizes = {name: math.prod(shape) * width for name, shape in shapes.items()}
    shards = plan_shards(sizes, max_shard_bytes)
    hashes = {}
    with _merged(merge, sizes) as tensors:
        for shard in shards:
            header = _header({name: shapes[name] for name in shard.tensors}, dtype)
            weights = (_bytes(next(tensors)) for _ in shard.tensors)
            hashes[shard.file_name] = write_file(folder / shard.file_name, chain([header], weights))
    if len(shards) > 1:
        hashes[INDEX_NAME] = write_file(folder / INDEX_NAME, [_index(shards, sum(sizes.values()))])
    return hashes


def write_file(path: Path, parts: Iterable[bytes | memoryview]) -> str:
    """Write a new file and see it onto the disk; returns the SHA-256 (hex) of what was written."""
    digest = hashlib.sha256()
    with path.open("xb", buffering=0) as file, _flushing(file.fileno()) as flush:
        for part in parts:
            digest.update(part)
            rest = memoryview(part)
            while rest:  # a single write takes no more than 2 GiB
                rest = rest[file.write(rest) :]
            flush(len(part))
        os.fsync(file.fileno())
    return digest.hexdigest()


@contextmanager
def _flushing(descriptor: int) -> Iterator[Callable[[int], None]]:
    """A function to be told of written bytes, which keeps the disk busy with them in the background.

    Left to itself the system collects gigabytes before it writes the first, and the end waits for them all.
    """
    unflushed, running = 0, None
    with ThreadPoolExecutor(1, thread_name_prefix="flush") as background:

        def flush(count: int) -> None:
            nonlocal unflushed, running
            unflushed += count
            if unflushed >= _FLUSH_BYTES and (running is None or running.done()):
                running, unflushed = background.submit(os.fdatasync, descriptor), 0

        yield flush


@contextmanager
def _merged(merge: Callable[[str], Tensor], sizes: Mapping[str, int]) -> Iterator[Iterator[Tensor]]:
    """The merged tensors in order, the next ones being made in other threads meanwhile.

    sizes: tensor name → bytes. If the block ends early, what is not yet begun is not merged any more.
    """
    threads, most = torch.get_num_threads(), 2 * max(sizes.values(), default=0)
    with ThreadPoolExecutor(threads, "merge", torch.set_num_threads, (1,)) as makers:
        try:
            yield _in_order(lambda name: makers.submit(merge, name), sizes, most)
        finally:
            makers.shutdown(cancel_futures=True)
    torch.set_num_threads(threads)  # what the makers set for themselves counts for threads of later, too


def _in_order(submit: Callable[[str], Future[Tensor]], sizes: Mapping[str, int], most: int) -> Iterator[Tensor]:
    """Results in order, as many of them in work as fit into `most` bytes together."""
    waiting, in_work, taken = deque(sizes), deque[tuple[str, Future[Tensor]]](), 0
    while waiting or in_work:
        while waiting and taken + sizes[waiting[0]] <= most:
            name = waiting.popleft()
            taken += sizes[name]
            in_work.append((name, submit(name)))
        name, future = in_work.popleft()
        yield future.result()
        taken -= sizes[name]


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


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data

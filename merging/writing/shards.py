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
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from merging.dtypes import BITS, CODES, element_bytes
from merging.sources.family import TensorHeader
from merging.writing.atomic import sync_data

_ALIGNMENT = 8  # bytes; the format's own library aligns the first weight so
_FLUSH_BYTES = 1 << 27  # bytes written between two requests to flush them to the disk

STEM = "model"
"""The beginning of the names of a model's weight files."""

Merge = Callable[[str, Tensor], Tensor]
"""Makes a tensor by its name; it may use the memory that it is given, which has the tensor's shape and dtype."""


@dataclass(frozen=True)
class Shard:
    """One weight file: its name, and the names of its tensors in the order of writing."""

    file_name: str
    tensors: tuple[str, ...]


def plan_shards(sizes: Mapping[str, int], max_bytes: int, stem: str = STEM) -> tuple[Shard, ...]:
    """Divide tensors (name → bytes) into files of at most max_bytes; a larger tensor has a file of its own.

    stem: the beginning of the files' names.
    """
    shares: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if shares[-1] and filled + size > max_bytes:
            shares.append([])
            filled = 0
        shares[-1].append(name)
        filled += size
    if len(shares) == 1:
        return (Shard(f"{stem}.safetensors", tuple(shares[0])),)
    return tuple(
        Shard(f"{stem}-{number:05d}-of-{len(shares):05d}.safetensors", tuple(share))
        for number, share in enumerate(shares, start=1)
    )


def write_weights(
    folder: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: str,
    merge: Merge,
    max_shard_bytes: int,
    stem: str = STEM,
    alignment: int = _ALIGNMENT,
) -> dict[str, str]:
    """Write the weights into a folder, with an index if there are several files; file name → SHA-256 (hex).

    shapes: tensor name → shape, in the order of writing. stem: as for `plan_shards`. alignment: of
    the first weight in each file, in bytes. merge: called in as many threads as torch has here, each with
    a single torch thread. Tensors that wait to be written and memory that waits for reuse together take at most twice
    the memory of the largest tensor. OSError as the file system raises it.
    """
    width = element_bytes(dtype)
    sizes = {name: math.prod(shape) * width for name, shape in shapes.items()}
    shards = plan_shards(sizes, max_shard_bytes, stem)
    hashes = {}

    def make(name: str, memory: Tensor) -> Tensor:
        return merge(name, memory.view(getattr(torch, dtype)).view(shapes[name]))

    with _merged(make, sizes) as tensors:
        for shard in shards:
            headers = (TensorHeader(name, shapes[name], CODES[dtype]) for name in shard.tensors)
            header = encode_header(headers, alignment)
            weights = (tensor_bytes(next(tensors)) for _ in shard.tensors)
            hashes[shard.file_name] = write_file(folder / shard.file_name, chain([header], weights))
    if len(shards) > 1:
        files = {name: shard.file_name for shard in shards for name in shard.tensors}
        index_name = f"{stem}.safetensors.index.json"
        hashes[index_name] = write_file(folder / index_name, [encode_index(files, sum(sizes.values()))])
    return hashes


def write_file(path: Path, parts: Iterable[bytes | memoryview]) -> str:
    """Write a new file and wait until it is on the disk; returns the SHA-256 (hex) of its content."""
    digest = hashlib.sha256()
    with path.open("xb", buffering=0) as file, _flushing(file.fileno()) as flush:
        for part in parts:
            digest.update(part)
            rest = memoryview(part)
            while rest:  # one write call takes at most 2 GiB
                rest = rest[file.write(rest) :]
            flush(len(part))
        os.fsync(file.fileno())
    return digest.hexdigest()


@contextmanager
def _flushing(descriptor: int) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of written bytes; it flushes them to the disk in the background.

    Otherwise the system may collect gigabytes before it writes any, and the final fsync waits for all of them. It
    reports a failed write only once, so the result of every flush is read.
    """
    unflushed, running = 0, None
    with ThreadPoolExecutor(1, thread_name_prefix="flush") as background:

        def flush(count: int) -> None:
            nonlocal unflushed, running
            unflushed += count
            if unflushed >= _FLUSH_BYTES and (running is None or running.done()):
                if running is not None:
                    running.result()
                running, unflushed = background.submit(sync_data, descriptor), 0

        yield flush
        if running is not None:
            running.result()


@contextmanager
def _merged(merge: Merge, sizes: Mapping[str, int]) -> Iterator[Iterator[Tensor]]:
    """The merged tensors in order, while other threads make the next ones.

    merge: gets its memory as bytes. sizes: tensor name → bytes. If the block ends early, no further tensor is begun.
    """
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, "merge", torch.set_num_threads, (1,)) as makers:
            try:
                yield _in_order(lambda name, memory: makers.submit(merge, name, memory), sizes, 2 * threads + 2)
            finally:
                makers.shutdown(cancel_futures=True)
    finally:
        torch.set_num_threads(threads)  # the makers' setting also applies to threads that start later


def _in_order(
    submit: Callable[[str, Tensor], Future[Tensor]], sizes: Mapping[str, int], at_once: int
) -> Iterator[Tensor]:
    """Results in order, with at most `at_once` in progress, and no more than there is memory for.

    A result is valid until the next one is requested: its memory is then reused.
    """
    memory = _Memory(2 * max(sizes.values(), default=0))
    waiting, in_work = deque(sizes), deque[tuple[Tensor, Future[Tensor]]]()
    while waiting or in_work:
        while waiting and len(in_work) < at_once and (place := memory.take(sizes[waiting[0]])) is not None:
            in_work.append((place, submit(waiting.popleft(), place)))
        place, future = in_work.popleft()
        yield future.result()
        memory.give_back(place)


class _Memory:
    """A pool of memory, reused in pieces of the same size: models have many tensors of few sizes.

    New memory costs a process a page fault per page, nearly as much as writing to it.
    """

    def __init__(self, most: int) -> None:
        self._left = most
        self._free: list[Tensor] = []  # oldest first

    def take(self, size: int) -> Tensor | None:
        """A piece of `size` bytes; None while too much is in use."""
        fitting = next((place for place, piece in enumerate(self._free) if len(piece) == size), None)
        if fitting is not None:
            return self._free.pop(fitting)
        while self._free and self._left < size:
            self._left += len(self._free.pop(0))
        if self._left < size:
            return None
        self._left -= size
        return torch.empty(size, dtype=torch.uint8)

    def give_back(self, piece: Tensor) -> None:
        """Return a piece for reuse."""
        self._free.append(piece)


def encode_header(headers: Iterable[TensorHeader], alignment: int = _ALIGNMENT) -> bytes:
    """A file's header: its length in 8 bytes, then JSON with each tensor's dtype, shape and offsets, in this order.

    alignment: of the first weight behind it, in bytes; a multiple of 8.
    """
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for header in headers:
        end = position + math.prod(header.shape) * BITS[header.dtype] // 8
        entries[header.name] = {"dtype": header.dtype, "shape": list(header.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % alignment)
    return len(text).to_bytes(8, "little") + text


def encode_index(files: Mapping[str, str], total_size: int) -> bytes:
    """An index of several files. files: tensor name → name of the file; total_size: bytes of all tensors."""
    index = {"metadata": {"total_size": total_size}, "weight_map": dict(sorted(files.items()))}
    return (json.dumps(index, indent=2) + "\n").encode()


def tensor_bytes(tensor: Tensor) -> memoryview:
    """A tensor's values as a file has them; no copy of a contiguous one."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data

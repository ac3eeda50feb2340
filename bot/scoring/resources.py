"""The machine's resources, and how many workers with how many threads fit into them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from bot.watchlist.sections import WorkersSection
from evaluation.suites import BatchSizes

WORKER_OVERHEAD = 500 * 2**20
"""Bytes that a worker needs besides weights, of its own: torch, transformers, lm-eval, the requests (measured)."""

SHARED_OVERHEAD = 750 * 2**20
"""Bytes of the command's own process and of the server that workers are forked from (measured)."""

ACTIVATION_SHARE = 0.25
"""Activations and KV cache of a batch, as a share of the live model's bytes."""


@dataclass(frozen=True)
class Machine:
    """Cores that this process may use, free memory in bytes, and the number of CUDA devices."""

    cores: int
    free_memory: int
    cuda_devices: int = 0


@dataclass(frozen=True)
class Resources:
    """The resources for scoring: workers, threads of each, the device and the batch size."""

    workers: int
    threads: int
    device: str
    batch_size: int


def inspect_machine(device: str) -> Machine:
    """Read this machine's cores and memory; asks torch for GPUs only where `device` allows one."""
    import psutil

    devices = 0
    if device != "cpu":
        import torch

        devices = torch.cuda.device_count()
    return Machine(count_usable_cores(), psutil.virtual_memory().available, devices)


def count_usable_cores() -> int:
    """The cores that this process may use; all of the machine's where the system cannot tell, as on macOS."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_device(machine: Machine, asked: WorkersSection) -> str:
    """Choose the device: a GPU if the watchlist asks for one, or if there is one and it does not say."""
    return "cuda" if asked.device == "cuda" or (asked.device == "auto" and machine.cuda_devices > 0) else "cpu"


def worker_memory(model_bytes: int) -> int:
    """Bytes that one worker needs of its own for candidates of `model_bytes`; the pool is mapped and shared."""
    return WORKER_OVERHEAD + int(model_bytes * (1 + ACTIVATION_SHARE))


def run_memory(workers: int, model_bytes: int) -> int:
    """Bytes that all processes of a run need at once, besides the mapped pool."""
    return SHARED_OVERHEAD + workers * worker_memory(model_bytes)


def choose_batch_size(model_bytes: int, sizes: BatchSizes) -> int:
    """Choose the batch size: tiny models gain from wide batches, large ones would only fill the memory."""
    if model_bytes <= 50 * 2**20:
        return sizes.tiny
    return sizes.small if model_bytes <= 2 * 2**30 else sizes.large


def plan_resources(machine: Machine, model_bytes: int, asked: WorkersSection, sizes: BatchSizes) -> Resources:
    """Plan one worker a core while memory lasts (two processes of one thread beat one of two), or one on the GPU.

    Values that the watchlist sets are kept, and the others are made to fit them. sizes: of the kind of model.
    """
    device = choose_device(machine, asked)
    by_memory = max(1, (machine.free_memory - SHARED_OVERHEAD) // worker_memory(model_bytes))
    workers = asked.count or (1 if device == "cuda" else min(machine.cores, by_memory))
    return Resources(
        workers=workers,
        threads=asked.threads or max(1, machine.cores // workers),
        device=device,
        batch_size=asked.batch_size or choose_batch_size(model_bytes, sizes),
    )

"""Fits a cycle's workers to this machine."""

from __future__ import annotations

from dataclasses import replace

from bot.hub.pool.pool import Pool
from bot.scoring.resources import Resources, choose_device, inspect_machine, plan_resources, worker_memory
from bot.search.strategies.strategy import SearchStrategy
from bot.watchlist.watchlist import Watchlist
from evaluation.suites import BATCH_SIZES


def fit_resources(
    watchlist: Watchlist, strategy: SearchStrategy, pool: Pool, *, parted: bool = False
) -> tuple[Resources, int]:
    """Plan the workers and their device; also returns the bytes that each needs for the weights of its candidates.

    parted: whether models are scored with their own tokenizers, though the pool has no vocabulary that says so yet.
    """
    machine = inspect_machine(watchlist.workers.device)
    device = choose_device(machine, watchlist.workers)
    needed = strategy.candidate_bytes(pool, watchlist.search.dtype, device)
    if parted or (pool.vocabulary and pool.vocabulary.parted):
        # Sources that are scored with their own tokenizers have a worker of their own meanwhile.
        machine = replace(machine, free_memory=machine.free_memory - worker_memory(needed))
    return plan_resources(machine, needed, watchlist.workers, BATCH_SIZES[watchlist.kind]), needed
